//go:build linux

package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A Side is a build at work: its agent, and its host with one connection to it.
type Side struct {
	Build
	Agent *Server
	Host  *Process

	lines   io.WriteCloser
	answers *bufio.Reader
}

// StartSide starts both. The first sample waits for the connection.
func (l *Lab) StartSide(ctx context.Context, b Build) (*Side, error) {
	server, err := l.StartProgram(ctx, b.Agent)
	if err != nil {
		return nil, err
	}
	s := &Side{Build: b, Agent: server}
	if err := s.startHost(l); err != nil {
		server.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Side) startHost(l *Lab) error {
	cmd := exec.Command(s.Build.Host, s.Agent.Target, l.Peer)
	var err error
	if s.lines, err = cmd.StdinPipe(); err != nil {
		return err
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	s.answers = bufio.NewReader(answers)
	s.Host, err = l.startCommand(cmd)
	return err
}

// Take has the host take one sample, and returns how long that took. The end of
// ctx kills the host.
func (s *Side) Take(ctx context.Context, line string) (time.Duration, error) {
	stop := context.AfterFunc(ctx, func() { _ = s.Host.cmd.Process.Kill() })
	defer stop()
	if _, err := fmt.Fprintln(s.lines, line); err != nil {
		return 0, s.explain(err)
	}
	answer, err := s.answers.ReadString('\n')
	if err != nil {
		return 0, s.explain(err)
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(answer), 10, 64)
	return time.Duration(ns), err
}

// explain adds what both processes have written to an error.
func (s *Side) explain(err error) error {
	return fmt.Errorf("%w; the host of %s says: %s; its agent: %s", err, s.Name, s.Host.Log(), s.Agent.Log())
}

// Stop ends both processes.
func (s *Side) Stop() error {
	err := s.lines.Close() // the host ends with its input
	s.Host.Stop()
	s.Agent.Stop()
	return err
}
