//go:build linux

package row

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/bench/internal/lab"
	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
	"github.com/cocoonstack/cocoon-agent/client"
)

const (
	alone = "an agent that runs nothing else"

	// heldTime is how long an exec may take beside one that is held.
	heldTime = 30 * time.Second
)

// beside measures execs of an agent that also has something else, and of one that
// has not. have begins that, and returns how to end it.
func (b *Bench) beside(
	ctx context.Context, row report.Row, have func(context.Context, *client.Client) (func() error, error),
) (*report.Row, error) {
	c := newCrew()
	for _, name := range []string{alone, agent} {
		if err := c.addAgent(ctx, name, b.Lab.StartAgent); err != nil {
			return nil, err
		}
	}
	defer c.end()
	end, err := have(ctx, c.run[agent].(lab.Agent).Client)
	if err != nil {
		return nil, err
	}
	var contenders []measure.Contender
	for _, name := range c.names {
		contenders = append(contenders, measure.Contender{Name: name, Sample: within(heldTime, timed(c.run[name]))})
	}
	s, err := measure.Alternate(ctx, b.Size.Exec, contenders)
	if err := errors.Join(err, end()); err != nil {
		return nil, err
	}
	row.Figures = figures(s, []string{agent, alone}, "µs", true)
	row.Goals = []report.Goal{{
		What: row.Title + ", median ÷ without", Unit: "×", Limit: 1.1,
		Got: measure.SpreadOf(s.Ratio(agent, alone, measure.Median)),
	}}
	return &row, nil
}

// within bounds a sample.
func within(limit time.Duration, sample func(context.Context) (float64, error)) func(context.Context) (float64, error) {
	return func(ctx context.Context) (float64, error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return sample(ctx)
	}
}

// sleepers measures execs beside many that sleep: whether the cost of one depends
// on how many others there are.
func (b *Bench) sleepers(ctx context.Context) (*report.Row, error) {
	n := slices.Max(b.Size.Idle)
	title := fmt.Sprintf("exec %s beside %d that sleep", theCommand, n)
	return b.beside(ctx, report.Row{Name: "sleepers", Title: title}, func(ctx context.Context, c *client.Client) (func() error, error) {
		h := newAgentHerd(c, n)
		err := many(8, n, func(i int) error { return h.start(ctx, i) })
		return func() error {
			for i := range n {
				got, err := h.finish(i)
				if err != nil {
					return fmt.Errorf("sleeper %d: %w", i, err)
				}
				if got != code(i) {
					return fmt.Errorf("sleeper %d: exit code %d, want %d", i, got, code(i))
				}
			}
			return nil
		}, err
	})
}

// held measures execs beside one that the kernel holds before its program runs,
// as a file system does that does not answer.
func (b *Bench) held(ctx context.Context) (*report.Row, error) {
	dir, err := os.MkdirTemp("", "bench-held-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "true")
	if err := copyProgram(program, theCommand); err != nil {
		return nil, err
	}
	row := report.Row{Name: "held", Title: "exec " + theCommand + " beside one whose execve is held"}
	return b.beside(ctx, row, func(ctx context.Context, c *client.Client) (func() error, error) {
		hold, err := holdExecs(program)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSkipped, err)
		}
		ended := make(chan error, 1)
		go func() { ended <- c.CommandContext(ctx, program).Run() }() // ends when it is let go of
		if err := hold.await(); err != nil {
			return nil, errors.Join(err, hold.release())
		}
		return func() error { return errors.Join(hold.release(), <-ended) }, nil
	})
}

func copyProgram(to, from string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o755)
}

// A hold is a group of fanotify(7) that has been asked for a permission and does
// not answer.
type hold int

// holdExecs holds every execve of program.
func holdExecs(program string) (hold, error) {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("fanotify_init", err)
	}
	if err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, program); err != nil {
		return -1, errors.Join(os.NewSyscallError("fanotify_mark", err), unix.Close(fd))
	}
	return hold(fd), nil
}

// await returns when an execve is held, or none has come for heldTime.
func (h hold) await() error {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(h), Events: unix.POLLIN}}, int(heldTime/time.Millisecond))
	if n == 0 && err == nil {
		err = errors.New("no execve has come")
	}
	return err
}

// release lets go of it: a group that is closed allows everything.
func (h hold) release() error { return unix.Close(int(h)) }
