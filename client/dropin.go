package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Run runs a command over a connection of its own, in version 1 of the protocol, which
// every cocoon-agent speaks. Version 1 carries no byte counts: if the end of the output
// is lost, Run does not notice. Prefer [Dial], or [RunWith] with [Protocol2].
//
// Run returns the command's exit code, or -1 if a signal ended it. It closes conn. env
// comes on top of the agent's environment. A nil stdin is an empty one; output for a nil
// stdout or stderr is thrown away.
//
// The error is nil once the command has ended, whatever its code. If ctx ended the
// command, the error wraps ctx's. Other errors are those of [RunWith], and the code is
// then -1.
func Run(
	ctx context.Context, conn io.ReadWriteCloser, argv []string, env map[string]string,
	stdin io.Reader, stdout, stderr io.Writer,
) (int, error) {
	_, err := RunWith(ctx, conn, RunOptions{Args: argv, Env: env, Stdin: stdin, Stdout: stdout, Stderr: stderr})
	if exit, ok := errors.AsType[*ExitError](err); ok {
		return exit.ExitCode(), exit.Unwrap()
	}
	if err != nil {
		return -1, err
	}
	return 0, nil
}

// RunOptions are the command that [RunWith] runs. Only Args is required.
type RunOptions struct {
	Args []string          // the command and its arguments
	Env  map[string]string // on top of the agent's environment

	// Stdin, Stdout and Stderr are as in a [Cmd].
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	// Protocol is the version to speak. [ProtocolAuto] is version 1: over one
	// connection an agent cannot be asked first which versions it speaks.
	Protocol Protocol
}

// RunWith runs a command over a connection of its own, in version 1 of the protocol
// unless o.Protocol is 2. Version 1 carries no byte counts: if the end of the output is
// lost, RunWith does not notice.
//
// The errors are those of [Cmd.Run]. The state is nil if it is not known how the command
// ended. If the agent does not speak the version, the error wraps [ErrNotSpoken] and
// nothing has run: the caller may connect again and try the other one. RunWith closes
// conn, whose Close must end a Read and a Write that are blocked, as a net.Conn's does.
func RunWith(ctx context.Context, conn io.ReadWriteCloser, o RunOptions) (*ProcessState, error) {
	if len(o.Args) == 0 {
		return nil, errors.Join(errors.New("client: no command"), conn.Close())
	}
	c, err := clientOfOne(ctx, conn, o.Protocol)
	if err != nil {
		return nil, notSpoken("nothing has run", err)
	}
	defer c.Close()
	cmd := c.CommandContext(ctx, o.Args[0], o.Args[1:]...)
	for _, key := range slices.Sorted(maps.Keys(o.Env)) {
		cmd.Env = append(cmd.Env, key+"="+o.Env[key])
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = o.Stdin, o.Stdout, o.Stderr
	err = cmd.Run()
	return cmd.ProcessState, notSpoken("nothing has run", err)
}

// Reseed is [Client.Reseed] over a connection of its own, in version 1 of the protocol,
// which every cocoon-agent speaks. It closes conn. Entropy may have any length: the
// agent takes the first 512 bytes. Without entropy it only has the guest's kernel reseed
// its random number generator. For the report of each step use [Dial] and
// [Client.ReseedWith].
func Reseed(ctx context.Context, conn io.ReadWriteCloser, entropy []byte, regenMachineID bool) error {
	c, err := clientOfOne(ctx, conn, Protocol1)
	if err != nil {
		return notSpoken("nothing was changed", err)
	}
	defer c.Close()
	return notSpoken("nothing was changed", c.Reseed(ctx, entropy, regenMachineID))
}

// notSpoken adds the outcome of a request to err if the agent does not speak the version.
func notSpoken(outcome string, err error) error {
	if errors.Is(err, ErrNotSpoken) {
		return fmt.Errorf("%s: %w", outcome, err)
	}
	return err
}

// clientOfOne returns a Client for one request, which owns conn and has closed it if
// clientOfOne fails.
func clientOfOne(ctx context.Context, conn io.ReadWriteCloser, p Protocol) (*Client, error) {
	if err := p.check(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if p == Protocol2 {
		return NewClient(ctx, conn)
	}
	old := agentOver(conn)
	c, err := newClientWithin(ctx, old, nil)
	if err != nil {
		_ = old.Close()
		old.wait()
	}
	return c, err
}
