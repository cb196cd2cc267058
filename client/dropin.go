package client

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
)

// Run runs a command over a connection of its own, which it closes, and returns
// its exit code, or -1 where a signal ended it. env comes on top of the agent's
// environment. A nil stdin is an empty one; what goes to a nil stdout or stderr
// is thrown away in the guest.
//
// The error is nil once the command has ended with no byte of output missing,
// whatever its code. Where ctx ended it, the error wraps ctx's. Other errors are
// those of [Cmd.Run], and the code is then -1; one is the [*ExitError] of a command
// that the agent has ended and that made of it a code of 0.
//
// Version 2 of the protocol is spoken. An agent that knows only version 1 refuses
// that, has then closed the connection, and has run nothing: the error wraps
// [ErrNotSpoken], and the caller, who alone can connect again, may do so and hand
// Run a [Version1] of that.
func Run(
	ctx context.Context, conn io.ReadWriteCloser, argv []string, env map[string]string,
	stdin io.Reader, stdout, stderr io.Writer,
) (int, error) {
	if len(argv) == 0 {
		return -1, errors.Join(errors.New("client: no command"), conn.Close())
	}
	c, err := NewClient(ctx, conn)
	if err != nil {
		return -1, err
	}
	defer c.Close()
	cmd := c.CommandContext(ctx, argv[0], argv[1:]...)
	for _, key := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, key+"="+env[key])
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	err = cmd.Run()
	if exit, ok := errors.AsType[*ExitError](err); ok {
		if exit.Success() && exit.Unwrap() == nil { // it was ended, however it took that
			return -1, exit
		}
		return exit.ExitCode(), exit.Unwrap()
	}
	if err != nil {
		return -1, err
	}
	return 0, nil
}

// Reseed is [Client.Reseed] over a connection of its own, which it closes. What
// is said of version 1 at [Run] is true of it.
func Reseed(ctx context.Context, conn io.ReadWriteCloser, entropy []byte, regenMachineID bool) error {
	c, err := NewClient(ctx, conn)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Reseed(ctx, entropy, regenMachineID)
}
