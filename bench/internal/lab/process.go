//go:build linux

package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// startTime is how long a server may take to listen.
	startTime = 30 * time.Second

	// stopTime is how long it has between SIGTERM and SIGKILL.
	stopTime = 10 * time.Second

	pollTime = 100 * time.Microsecond
)

// A Process is one that the lab has started.
type Process struct {
	Begun time.Time // just before fork

	cmd  *exec.Cmd
	log  string // file with its standard output and error
	done chan struct{}
}

// start starts a program whose output goes to a file: a pipe would cost
// somebody the time to read it.
func (l *Lab) start(argv []string) (*Process, error) {
	return l.startCommand(exec.Command(argv[0], argv[1:]...))
}

// startCommand is start for a command whose standard input, and output, may be
// somebody's already.
func (l *Lab) startCommand(cmd *exec.Cmd) (*Process, error) {
	log, err := os.CreateTemp(l.Dir, filepath.Base(cmd.Path)+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if cmd.Stderr = log; cmd.Stdout == nil {
		cmd.Stdout = log
	}
	p := &Process{cmd: cmd, log: log.Name(), done: make(chan struct{}), Begun: time.Now()}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process, which Stop sees to
		_ = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Stop ends the process and waits for it. It is idempotent.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopTime):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// PID is the process's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log is what it has written.
func (p *Process) Log() string {
	text, _ := os.ReadFile(p.log)
	return string(text)
}

func (s *Server) awaitListening(ctx context.Context) error {
	return s.await(ctx, func() bool {
		nc, err := s.Dial(ctx)
		if err == nil {
			_ = nc.Close()
		}
		return err == nil
	})
}

func (p *Process) await(ctx context.Context, ready func() bool) error {
	deadline := time.After(startTime)
	for !ready() {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %s", p.cmd.Path, p.Log())
		case <-deadline:
			return fmt.Errorf("%s is not ready after %v: %s", p.cmd.Path, startTime, p.Log())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollTime):
		}
	}
	return nil
}

// A Usage is what a process takes, proc_pid_status(5).
type Usage struct {
	RSS     int // bytes
	Peak    int // the most that RSS has been, bytes
	Threads int
}

// Usage reads what the process takes now.
func (p *Process) Usage() (Usage, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return Usage{}, err
	}
	var u Usage
	for line := range strings.Lines(string(text)) {
		key, rest, _ := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			continue
		}
		n, _ := strconv.Atoi(fields[0])
		switch key {
		case "VmRSS":
			u.RSS = n << 10
		case "VmHWM":
			u.Peak = n << 10
		case "Threads":
			u.Threads = n
		}
	}
	return u, nil
}
