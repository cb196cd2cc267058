// Command vmexec is what a VM manager's "exec" can be: it runs one command in a VM that may
// still be starting, with this program's streams, and ends as the command does.
//
//	vmexec [-t] [-wait TIME] TARGET COMMAND [ARG…]
//
// With -t the command has a terminal, with the size and the keys of this one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/cocoonstack/cocoon-agent/client"
)

// Exit statuses besides the command's own, as ssh(1) and shells have them.
const (
	statusUsage    = 2
	statusNoExec   = 126
	statusNotFound = 127
	statusFailed   = 255
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, stdin *os.File, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("vmexec", flag.ContinueOnError)
	flags.SetOutput(stderr)
	tty := flags.Bool("t", false, "give the command a terminal")
	wait := flags.Duration("wait", 10*time.Second, "how long the VM may take to start")
	if err := flags.Parse(args); err != nil || flags.NArg() < 2 {
		fmt.Fprintln(stderr, "usage: vmexec [-t] [-wait TIME] TARGET COMMAND [ARG…]")
		return statusUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := execute(ctx, flags.Arg(0), flags.Args()[1:], *tty, *wait, stdin, stdout, stderr)
	status, line := verdict(err)
	if line != "" {
		fmt.Fprintln(stderr, "vmexec:", line)
	}
	return status
}

// execute runs the command.
func execute(
	ctx context.Context, target string, argv []string, tty bool, wait time.Duration,
	stdin *os.File, stdout, stderr io.Writer,
) error {
	within, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	c, err := client.WaitReady(within, target)
	if err != nil {
		return err
	}
	defer c.Close()
	cmd := c.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	if tty {
		cmd.Stderr = nil
		return interact(cmd, stdin)
	}
	return cmd.Run()
}

// interact runs a command whose terminal is tied to ours.
func interact(cmd *client.Cmd, local *os.File) error {
	fd := int(local.Fd())
	modes, _ := client.ModesOf(local) // without them the guest's own
	cmd.TTY = &client.TTY{Term: os.Getenv("TERM"), Modes: modes}
	cmd.TTY.Rows, cmd.TTY.Cols = size(fd)
	if err := cmd.Start(); err != nil {
		return err
	}
	if before, err := term.MakeRaw(fd); err == nil { // every key is the command's
		defer func() { _ = term.Restore(fd, before) }()
	}
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, syscall.SIGWINCH)
	defer signal.Stop(changes)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case <-changes:
				_ = cmd.Resize(size(fd))
			case <-ended:
				return
			}
		}
	}()
	return cmd.Wait()
}

func size(fd int) (rows, cols uint16) {
	width, height, _ := term.GetSize(fd) // 0: the guest's own
	return uint16(height), uint16(width)
}

// verdict returns the exit status for how a command ended, and a line if that does not say
// all.
func verdict(err error) (status int, line string) {
	exit, exited := errors.AsType[*client.ExitError](err)
	remote, refused := errors.AsType[*client.RemoteError](err)
	switch {
	case err == nil:
		return 0, ""
	case exited && (exit.Reason() == client.ReasonExit || exit.Reason() == client.ReasonSignal):
		return exit.ExitStatus(), ""
	case exited:
		return max(exit.ExitStatus(), 1), err.Error()
	case refused && remote.Kind == client.NotFound:
		return statusNotFound, err.Error()
	case refused && remote.Kind == client.PermissionDenied:
		return statusNoExec, err.Error()
	default: // no VM, a connection that broke, or output that is missing: err has it
		return statusFailed, err.Error()
	}
}
