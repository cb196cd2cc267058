//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os/exec"
	"syscall"

	"github.com/cocoonstack/cocoon-agent/bench/internal/naive"
	v1 "github.com/cocoonstack/cocoon-agent/bench/internal/v1"
	"github.com/cocoonstack/cocoon-agent/client"
)

// A Command is what every contender can run: with its output and its standard
// error collected, and nothing but exit code 0 taken for success.
type Command struct {
	Argv   []string
	Stdin  io.Reader // nil: none
	Stdout io.Writer
}

// A Runner runs commands to their end, in its own way. It is safe for
// concurrent use.
type Runner interface {
	Run(context.Context, Command) error
}

// Local is os/exec.
type Local struct {
	Setsid bool // each command gets a session, as the agent's do
}

// Run runs a command as a child of this process.
func (l Local) Run(ctx context.Context, c Command) error {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: l.Setsid}
	return said(cmd.Run(), &stderr)
}

// said adds to an error what the command has.
func said(err error, stderr *bytes.Buffer) error {
	if err != nil && stderr.Len() > 0 {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return err
}

// Agent is one warm connection to the agent.
type Agent struct{ *client.Client }

// DialAgent connects to the agent and waits for its greeting.
func DialAgent(ctx context.Context, s *Server) (Agent, error) {
	c, err := client.Dial(ctx, s.Target)
	if err != nil {
		return Agent{}, err
	}
	if err := c.Ping(ctx); err != nil {
		_ = c.Close()
		return Agent{}, err
	}
	return Agent{c}, nil
}

// Run runs a command over the connection.
func (a Agent) Run(ctx context.Context, c Command) error {
	var stderr bytes.Buffer
	cmd := a.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, &stderr
	return said(cmd.Run(), &stderr)
}

// Naive is one warm connection to a server of package naive.
type Naive struct{ *rpc.Client }

// DialNaive connects to the server.
func DialNaive(ctx context.Context, s *Server) (Naive, error) {
	nc, err := s.Dial(ctx)
	if err != nil {
		return Naive{}, err
	}
	return Naive{rpc.NewClient(nc)}, nil
}

// Run runs a command, which may have no input.
func (n Naive) Run(ctx context.Context, c Command) error {
	if c.Stdin != nil {
		return errors.New("the naive server gives commands no input")
	}
	var result naive.Result
	call := n.Go(naive.Method, naive.Request{Argv: c.Argv}, &result, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if call.Error != nil {
		return call.Error
	}
	if result.Code != 0 {
		return said(fmt.Errorf("exit code %d", result.Code), bytes.NewBuffer(result.Stderr))
	}
	_, err := c.Stdout.Write(result.Stdout)
	return err
}

// V1 is protocol version 1: a connection for each command.
type V1 struct{ Server *Server }

// Run dials, and runs a command.
func (v V1) Run(ctx context.Context, c Command) error {
	nc, err := v.Server.Dial(ctx)
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd := v1.Cmd{Argv: c.Argv, Stdin: c.Stdin, Stdout: c.Stdout, Stderr: &stderr}
	e, err := cmd.Start(nc)
	if err != nil {
		return err
	}
	code, err := e.Wait()
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d", code)
	}
	return said(err, &stderr)
}
