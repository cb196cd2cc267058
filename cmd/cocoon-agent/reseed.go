package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/client"
)

type reseedCommand struct {
	targetFlags

	Resume    bool          `help:"What a clone needs: --machine-id, --clock and --ssh-keys. Its name it gets by --hostname."`
	MachineID bool          `name:"machine-id" help:"Write a new random /etc/machine-id."`
	Clock     bool          `help:"Set the guest's clock by ours, where it is behind."`
	ClockBack bool          `help:"Set the guest's clock by ours, back too."`
	Hostname  string        `placeholder:"NAME" help:"Set the guest's hostname."`
	SSHKeys   bool          `name:"ssh-keys" help:"Make new host keys, where sshd is installed."`
	Timeout   time.Duration `short:"W" default:"2m" help:"How long to wait for the answer."`
}

// Help is what --help says besides the flags.
func (*reseedCommand) Help() string {
	return `The guest's kernel gets 32 bytes of this system's random numbers, and is reseeded;
the random seed that systemd has stored for the next boot is removed. The flags
say what is done besides. Do it first after a VM has been restored, before any
command runs; doing it again does no harm. What programs that run have already
drawn or read, they keep.

There is a line for each step. One that fails does not keep the others from being
taken, and the exit status is 1. An agent that speaks version 1 of the protocol
only has --machine-id and nothing else.

  cocoon-agent reseed --cid 3 --resume --hostname web-17
  cocoon-agent reseed --target hvsock:///run/vm/v.sock --clock`
}

// Run asks and prints.
func (r *reseedCommand) Run(k *kong.Context) error {
	if r.Timeout <= 0 {
		return misuse("--timeout %v: want more than 0", r.Timeout)
	}
	if r.Hostname == "" && given(k, "hostname") {
		return misuse("--hostname: want a name")
	}
	url, err := r.url(k)
	if err != nil {
		return err
	}
	c, err := r.dial(url)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), r.Timeout)
	defer cancel()
	report, err := c.Resume(ctx, client.ResumeOptions{
		MachineID: r.MachineID || r.Resume, Hostname: r.Hostname, SSHKeys: r.SSHKeys || r.Resume,
		Clock: r.Clock || r.Resume, ClockBack: r.ClockBack,
	})
	if report != nil {
		if err := printSteps(k.Stdout, report.Steps); err != nil {
			return err
		}
	}
	failed, ok := errors.AsType[*client.ResumeError](err)
	switch {
	case ok:
		return fmt.Errorf("%s: %d of %d steps failed", url, len(failed.Failed()), len(report.Steps))
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: no answer within %v: it may or may not have been done", url, r.Timeout)
	case err != nil:
		return fmt.Errorf("%s: %w", url, err)
	default:
		return nil
	}
}

// Bounds of what a guest can have printed. There are seven steps.
const (
	maxSteps    = 64
	maxStepText = 256 // characters of each
)

func printSteps(out io.Writer, steps []client.ResumeStep) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range steps[:min(len(steps), maxSteps)] {
		outcome, note := "unchanged", s.Note
		switch {
		case s.Err != nil:
			outcome, note = "failed", s.Err.Message
		case s.Changed:
			outcome = "changed"
		}
		if note != "" {
			outcome += ": " + cutText(note)
		}
		fmt.Fprintf(w, "%s\t%s\n", printable(s.Name), printable(outcome))
	}
	if err := w.Flush(); err != nil || len(steps) <= maxSteps {
		return err
	}
	_, err := fmt.Fprintf(out, "… and %d more\n", len(steps)-maxSteps)
	return err
}

// cutText returns the beginning of text that is long.
func cutText(text string) string {
	n := 0
	for i := range text {
		if n == maxStepText {
			return text[:i] + "…"
		}
		n++
	}
	return text
}
