package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/client"
)

type psCommand struct {
	targetFlags

	Timeout time.Duration `short:"W" default:"10s" help:"Time limit for the answer."`
	JSON    bool          `name:"json" help:"Print one JSON object."`
}

// Help is what --help says besides the flags.
func (*psCommand) Help() string {
	return `Prints one line per command that runs, or that was started by "client --detach" and
has ended, the oldest first. The list has only commands whose hosts connected the same
way: as the host (CID 2), from the same --allow-cid, or to the same Unix socket.

  HANDLE  argument of "attach", "logs", "wait-exec", "kill" and "release"
  USER    user of the command; "-" is the agent's user
  STATE   running; left: it has outlived its connection (client --keep); attached or
          detached: it was started by "client --detach", and its output is being read
          or not; ended
  AGE     how long it has run
  BYTES   length of both outputs together; "-": not known until the command has ended
  EXIT    exit status, as a shell has it, of a command that has ended

JSON has times in seconds; "more" counts the running commands that are missing because
the list is full. Exit status:

  0  the list was printed
  1  the agent did not answer, or is too old to list commands
  2  invalid command line

  cocoon-agent ps --cid 3
  cocoon-agent ps --json --cid 3 | jq '.execs[] | select(.connected | not) | .handle'`
}

// Run asks and prints.
func (e *psCommand) Run(k *kong.Context) error {
	if e.Timeout <= 0 {
		return misuse("--timeout %v: want more than 0", e.Timeout)
	}
	url, err := e.url(k)
	if err != nil {
		return err
	}
	c, err := e.dial(context.Background(), url)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), e.Timeout)
	defer cancel()
	list, err := c.Execs(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: no answer within %v", url, e.Timeout)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	if e.JSON {
		return printExecsJSON(k.Stdout, list)
	}
	return printExecs(k.Stdout, list)
}

func printExecs(out io.Writer, list *client.ExecList) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HANDLE\tPID\tUSER\tSTATE\tAGE\tBYTES\tEXIT\tCOMMAND")
	for _, e := range slices.Concat(list.Ended, list.Execs) {
		user := e.User
		if user == "" {
			user = "-"
		}
		bytes, exit := "-", "-"
		if e.Detached || e.End != "" {
			bytes = fmt.Sprint(e.StdoutBytes + e.StderrBytes)
		}
		if e.End != "" {
			exit = fmt.Sprint(e.ExitStatus)
		}
		fmt.Fprintf(w, "%x\t%d\t%s\t%s\t%v\t%s\t%s\t%s\n", e.Handle, e.PID, printable(user),
			stateOf(&e), roughly(e.Running), bytes, exit, printable(e.Command))
	}
	if list.More > 0 {
		fmt.Fprintf(w, "and %d more\n", list.More)
	}
	return w.Flush()
}

// stateOf is the STATE of a command.
func stateOf(e *client.Exec) string {
	switch {
	case e.End != "":
		return "ended"
	case e.Detached && e.Connected:
		return "attached"
	case e.Detached:
		return "detached"
	case e.Connected:
		return "running"
	default:
		return "left"
	}
}

// roughly rounds to what matters of a time that a command has run for.
func roughly(d time.Duration) time.Duration {
	if d < 10*time.Second {
		return d.Truncate(time.Millisecond)
	}
	return d.Truncate(time.Second)
}

// printExecsJSON is a contract: names and units stay.
func printExecsJSON(out io.Writer, list *client.ExecList) error {
	type exec struct {
		Handle    string  `json:"handle"`
		PID       int     `json:"pid"`
		Command   string  `json:"command"`
		User      string  `json:"user"`
		TTY       bool    `json:"tty"`
		Keep      bool    `json:"keep"`
		Connected bool    `json:"connected"`
		Running   float64 `json:"running_seconds"`

		Detached     bool   `json:"detached"`
		Input        bool   `json:"input"`
		StdoutOldest uint64 `json:"stdout_oldest"`
		StdoutBytes  uint64 `json:"stdout_bytes"`
		StderrOldest uint64 `json:"stderr_oldest"`
		StderrBytes  uint64 `json:"stderr_bytes"`

		End        string `json:"end,omitempty"`
		ExitStatus *int   `json:"exit_status,omitempty"`
	}
	of := func(execs []client.Exec) []exec {
		all := make([]exec, 0, len(execs))
		for _, e := range execs {
			x := exec{
				hex.EncodeToString(e.Handle), e.PID, e.Command, e.User, e.TTY, e.Keep, e.Connected, e.Running.Seconds(),
				e.Detached, e.Input, e.StdoutOldest, e.StdoutBytes, e.StderrOldest, e.StderrBytes, e.End, nil,
			}
			if e.End != "" {
				x.ExitStatus = &e.ExitStatus
			}
			all = append(all, x)
		}
		return all
	}
	return writeJSON(out, struct {
		Execs []exec `json:"execs"`
		More  uint64 `json:"more"`
		Ended []exec `json:"ended"`
	}{of(list.Execs), list.More, of(list.Ended)})
}
