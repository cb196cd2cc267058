package freeze

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An order is a line from the agent to the guard. The first has a request.
type order struct {
	Request *Request      `json:"request,omitempty"`
	Within  time.Duration `json:"within,omitempty"` // from now on
	Thaw    bool          `json:"thaw,omitempty"`
}

// A report is a line from the guard to the agent: a step, that all is frozen, or how it has ended.
type report struct {
	Step   *Step  `json:"step,omitempty"`
	Frozen bool   `json:"frozen,omitempty"`
	End    End    `json:"end,omitempty"`
	Failed string `json:"failed,omitempty"` // of End: what could not be thawed
}

type guard struct {
	record string
	cmd    *exec.Cmd
	orders io.WriteCloser
	said   bytes.Buffer // on its standard error

	steps  []Step
	frozen chan error    // has one: nil, or that the guard has ended
	ended  chan struct{} // closed after why and err are set
	gone   chan struct{} // closed when the process has ended
	why    End
	err    error

	mu sync.Mutex // guards writes of orders
}

func start(argv []string, r Request) (*Guard, error) {
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	pidfd := os.NewFile(uintptr(self), "pidfd")
	defer pidfd.Close()
	g := &Guard{guard{record: r.Record, frozen: make(chan error, 1), ended: make(chan struct{}), gone: make(chan struct{})}}
	g.cmd = exec.Command(argv[0], argv[1:]...)
	g.cmd.Dir, g.cmd.Env = "/", []string{}
	g.cmd.ExtraFiles = []*os.File{pidfd} // 3
	g.cmd.Stderr = &g.said
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := g.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := g.cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	g.orders = in
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	g.send(order{Request: &r})
	go g.follow(out) // ends with the guard
	return g, nil
}

func (g *guard) send(o order) {
	line, _ := json.Marshal(o) // it has nothing that cannot be written
	g.mu.Lock()
	defer g.mu.Unlock()
	_, _ = g.orders.Write(append(line, '\n')) // follow finds out that the guard has gone
}

func (g *guard) freeze() ([]Step, error) {
	err := <-g.frozen
	return g.steps, err
}

func (g *guard) extend(within time.Duration) { g.send(order{Within: within}) }
func (g *guard) thaw()                       { g.send(order{Thaw: true}) }
func (g *guard) outcome() (End, error)       { return g.why, g.err }

// follow reads what the guard reports, until it says how it has ended, or has.
func (g *guard) follow(out io.Reader) {
	defer close(g.gone)
	reports := json.NewDecoder(out)
	for {
		var r report
		if err := reports.Decode(&r); err != nil {
			break
		}
		switch {
		case r.Step != nil:
			g.steps = append(g.steps, *r.Step)
		case r.Frozen:
			g.tell(nil)
		case r.End != "":
			var failed error
			if r.Failed != "" {
				failed = errors.New(r.Failed)
			}
			g.end(r.End, failed, nil)
			g.reap() // which may have a freeze to wait for
			return
		}
	}
	g.reap()
	_, err := Recover(g.record)
	err = errors.Join(fmt.Errorf("the guard ended before its time: %v: %s", g.cmd.ProcessState, lastLine(g.said.String())), err)
	g.end(GuardEnd, err, err)
}

// end notes that all goes on. frozen is what Freeze returns, if it has not.
func (g *guard) end(why End, err, frozen error) {
	g.why, g.err = why, err
	close(g.ended)
	g.tell(frozen)
}

// tell lets Freeze return, if it has not.
func (g *guard) tell(err error) {
	select {
	case g.frozen <- err:
	default:
	}
}

func (g *guard) reap() {
	_ = g.orders.Close()
	_ = g.cmd.Wait()
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
