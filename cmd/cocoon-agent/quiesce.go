package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/client"
)

type quiesceCommand struct {
	targetFlags

	Timeout     time.Duration `default:"10s" help:"The guest goes on by itself after this time, at most 10m."`
	FreezeExecs bool          `help:"Stop all commands that were started through the agent."`
	FreezeFS    bool          `name:"freeze-fs" help:"Freeze all writable file systems, for a copy of the disks without the memory."`
	Wait        time.Duration `short:"W" default:"2m" help:"Time limit for the answer."`
	JSON        bool          `name:"json" help:"Print one JSON object."`
}

// Help is what --help says besides the flags.
func (*quiesceCommand) Help() string {
	return `Makes the guest hold still for a snapshot. It runs the programs of
/etc/cocoon-agent/quiesce.d, refuses new commands, and writes caches to the disks. With
flags it stops the running commands, and freezes the file systems. Take the snapshot,
and run "thaw". If a step fails, the guest goes on.

A snapshot of memory and disks, taken while the VM is paused, needs no flags. A copy
of the disks alone needs --freeze-fs. Repeating the command gives the guest more time.
Exit status:

  0  the guest holds still
  1  a step failed, or the agent did not answer
  2  invalid command line

  cocoon-agent quiesce --cid 3 --freeze-fs --timeout 30s`
}

// Run asks and prints.
func (q *quiesceCommand) Run(k *kong.Context) error {
	if q.Timeout < time.Millisecond || q.Timeout > maxQuiesce {
		return misuse("--timeout %v: want 1ms to %v", q.Timeout, maxQuiesce)
	}
	var steps []client.ReseedStep
	err := askGuest(k, &q.targetFlags, q.Wait, "the guest may hold still, run \"thaw\"", func(ctx context.Context, c *client.Client) (err error) {
		steps, err = c.Quiesce(ctx, client.QuiesceOptions{Timeout: q.Timeout, FreezeExecs: q.FreezeExecs, FreezeFS: q.FreezeFS})
		return err
	})
	if steps != nil {
		if err := printAll(k.Stdout, q.JSON, steps); err != nil {
			return err
		}
	}
	return err
}

const maxQuiesce = 10 * time.Minute

type thawCommand struct {
	targetFlags

	Wait time.Duration `short:"W" default:"2m" help:"Time limit for the answer."`
	JSON bool          `name:"json" help:"Print one JSON object."`
}

// Help is what --help says besides the flags.
func (*thawCommand) Help() string {
	return `Lets a guest go on that "quiesce" has made to hold still, and then runs the programs of
/etc/cocoon-agent/thaw.d in it. Exit status:

  0  the guest has held still until now
  1  it had gone on before: discard the snapshot. Or a hook failed, which the line of
     that step tells, or the agent did not answer
  2  invalid command line`
}

// Run asks and prints.
func (t *thawCommand) Run(k *kong.Context) error {
	var thawed *client.Thawed
	err := askGuest(k, &t.targetFlags, t.Wait, "the guest may still hold still", func(ctx context.Context, c *client.Client) (err error) {
		thawed, err = c.Thaw(ctx)
		switch {
		case thawed == nil:
			return err
		case thawed.Held && err != nil:
			return fmt.Errorf("%w: but the guest has held still until now", err)
		case thawed.Held:
			return nil
		case err != nil:
			return fmt.Errorf("%w; %w", &notHeldError{thawed}, err)
		default:
			return &notHeldError{thawed}
		}
	})
	switch {
	case thawed == nil:
		return err
	case t.JSON:
		return errors.Join(printThawedJSON(k.Stdout, thawed), err)
	case len(thawed.Steps) > 0:
		return errors.Join(printSteps(k.Stdout, thawed.Steps), err)
	default:
		return err
	}
}

// A notHeldError says that the snapshot is of no use.
type notHeldError struct{ how *client.Thawed }

func (e *notHeldError) Error() string {
	after := fmt.Sprintf("after %v: discard this snapshot", e.how.After.Round(time.Millisecond))
	switch by := e.how.By; by {
	case "":
		return "the guest was not quiesced since the agent started: discard this snapshot"
	case "host":
		return "the guest was thawed before, by \"thaw\", " + after
	case "timeout":
		return fmt.Sprintf("the guest was thawed by the timer after %v: discard this snapshot", e.how.After.Round(time.Millisecond))
	default:
		return fmt.Sprintf("the guest was thawed before (%s) %s", printable(by), after)
	}
}

// askGuest has do ask an agent. Without an answer in time, late says what that means.
func askGuest(k *kong.Context, t *targetFlags, patience time.Duration, late string, do func(context.Context, *client.Client) error) error {
	if patience <= 0 {
		return misuse("--wait %v: want more than 0", patience)
	}
	url, err := t.url(k)
	if err != nil {
		return err
	}
	c, err := t.dial(context.Background(), url)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch err := do(ctx, c); {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: no answer within %v: %s", url, patience, late)
	case err != nil:
		return fmt.Errorf("%s: %w", url, err)
	default:
		return nil
	}
}

func printAll(out io.Writer, asJSON bool, steps []client.ReseedStep) error {
	if asJSON {
		return printStepsJSON(out, steps)
	}
	return printSteps(out, steps)
}

// printThawedJSON is a contract: names stay.
func printThawedJSON(out io.Writer, t *client.Thawed) error {
	return writeJSON(out, struct {
		Held    bool       `json:"held"`
		By      string     `json:"by"`
		Seconds float64    `json:"seconds"`
		Steps   []stepJSON `json:"steps"`
	}{t.Held, t.By, t.After.Seconds(), stepsJSON(t.Steps)})
}
