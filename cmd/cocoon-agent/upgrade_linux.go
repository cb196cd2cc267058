package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

// systemCommands are those that only this operating system has.
func systemCommands() []kong.Option {
	return []kong.Option{kong.DynamicCommand("upgrade", "Replace the running agent by this program, in the guest. Commands go on.", "", new(upgradeCommand))}
}

// controlFlag names the control socket of "serve". usualControl is that of all packages.
const (
	controlFlag  = "--control"
	usualControl = "/run/cocoon-agent/control.sock"
)

type upgradeCommand struct {
	Binary  string        `placeholder:"FILE" help:"Upgrade the agent to FILE. Default: this program."`
	Force   bool          `help:"End commands that would end with their connection, instead of failing."`
	Control string        `default:"/run/cocoon-agent/control.sock" placeholder:"PATH" help:"Control socket of the agent (serve --control). Default: ${default}."`
	Timeout time.Duration `short:"W" default:"1m" help:"Time limit for the answer."`
	JSON    bool          `name:"json" help:"Print one JSON object."`
}

// Help is what --help says besides the flags.
func (*upgradeCommand) Help() string {
	return `Run it in the guest, as root or the agent's user. The agent tries the program first: it must
accept the agent's options and its state. Then the program takes the agent's place in the same
process. Detached commands (client --detach, --resume) and kept ones (--keep) go on with their
output, exit status and terminal. So do the agent's sockets: no connection is refused.
Connections are closed, and clients that resume connect again. Forwarded connections end.

Commands that would end with their connection are waited for, for 2 seconds. If some still
run, or a start hangs that cannot be ended, the agent goes on unchanged and "upgrade" fails.
It goes on as well if the program fails before it has taken over.

Only "upgrade" keeps commands: "systemctl restart" ends them, and a crash of the agent loses
their exit statuses. Exit status:

  0  upgraded
  1  not upgraded: the agent goes on as before, or there is none; or no answer in time
  2  invalid command line`
}

// Run asks the agent and waits for the answer of whichever agent serves then.
func (u *upgradeCommand) Run(k *kong.Context) error {
	if u.Timeout <= 0 {
		return misuse("--timeout %v: want more than 0", u.Timeout)
	}
	program, err := u.program()
	if err != nil {
		return err
	}
	answer, err := u.ask(upgradeRequest{Program: program, Force: u.Force})
	if err != nil {
		return err
	}
	if u.JSON {
		if err := json.NewEncoder(k.Stdout).Encode(answer); err != nil {
			return err
		}
	}
	switch {
	case answer.Error != "":
		return errors.New(answer.Error)
	case u.JSON:
		return nil
	}
	_, err = fmt.Fprintf(k.Stdout, "upgraded from %s to %s: commands that go on: %d, nobody was served for %v\n",
		printable(answer.From), printable(answer.To), answer.Commands, time.Duration(answer.SilenceUS)*time.Microsecond)
	return err
}

func (u *upgradeCommand) program() (string, error) {
	if u.Binary == "" {
		return os.Executable()
	}
	return filepath.Abs(u.Binary)
}

func (u *upgradeCommand) ask(request upgradeRequest) (answer upgradeAnswer, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), u.Timeout)
	defer cancel()
	conn, err := transport.Dial(ctx, transport.Target{Scheme: "unix", Path: u.Control})
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return answer, fmt.Errorf("no agent listens on the control socket %s (serve --control): %w", u.Control, err)
	case err != nil:
		return answer, fmt.Errorf("control socket %s: %w", u.Control, err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(u.Timeout))
	if err := json.NewEncoder(conn).Encode(request); err != nil {
		return answer, err
	}
	err = json.NewDecoder(io.LimitReader(conn, maxAnswer)).Decode(&answer)
	if err == nil && answer.Error == "" && (answer.From == "" || answer.To == "" || answer.Commands < 0) {
		err = errors.New("not an answer to an upgrade")
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return answer, fmt.Errorf("no answer within %v: the agent may be upgraded yet, see its log and \"info\"", u.Timeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return answer, errors.New("the agent has closed the connection without an answer: see its log")
	}
	if err != nil {
		err = fmt.Errorf("the server of %s is not the control socket of an agent: %w", u.Control, err)
	}
	return answer, err
}

// maxAnswer bounds what an agent says.
const maxAnswer = 64 << 10
