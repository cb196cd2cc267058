package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/client"
)

type execsCommand struct {
	targetFlags

	Timeout time.Duration `short:"W" default:"10s" help:"Time limit for the answer."`
	JSON    bool          `name:"json" help:"Print one JSON object."`
}

// Help is what --help says besides the flags.
func (*execsCommand) Help() string {
	return `Prints one line per running command, oldest first. The list has only commands whose
hosts connected the same way: as the host (CID 2), from the same --allow-cid, or to
the same Unix socket.

  HANDLE     argument of "kill"
  USER       user of the command; "-" is the agent's user
  KEEP       "yes": the command outlives its connection
  CONNECTED  "no": the command's connection has ended

JSON has times in seconds; "more" counts the commands that are missing because the
list is full. Exit status:

  0  the list was printed
  1  the agent did not answer, or is too old to list commands
  2  invalid command line

  cocoon-agent execs --cid 3
  cocoon-agent execs --json --cid 3 | jq '.execs[] | select(.connected | not) | .handle'`
}

// Run asks and prints.
func (e *execsCommand) Run(k *kong.Context) error {
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
	fmt.Fprintln(w, "HANDLE\tPID\tUSER\tKEEP\tCONNECTED\tRUNNING\tCOMMAND")
	for _, e := range list.Execs {
		user := e.User
		if user == "" {
			user = "-"
		}
		fmt.Fprintf(w, "%x\t%d\t%s\t%s\t%s\t%v\t%s\n", e.Handle, e.PID, printable(user),
			yes(e.Keep), yes(e.Connected), roughly(e.Running), printable(e.Command))
	}
	if list.More > 0 {
		fmt.Fprintf(w, "and %d more\n", list.More)
	}
	return w.Flush()
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
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
	}
	all := make([]exec, 0, len(list.Execs))
	for _, e := range list.Execs {
		all = append(all, exec{
			hex.EncodeToString(e.Handle), e.PID, e.Command, e.User, e.TTY, e.Keep, e.Connected, e.Running.Seconds(),
		})
	}
	return writeJSON(out, struct {
		Execs []exec `json:"execs"`
		More  uint64 `json:"more"`
	}{all, list.More})
}
