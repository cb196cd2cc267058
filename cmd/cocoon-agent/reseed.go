package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/client"
)

type reseedCommand struct {
	targetFlags

	Resume    bool          `help:"Do all that a clone needs: --machine-id, --clock and --ssh-keys. Set its name with --hostname."`
	MachineID bool          `name:"machine-id" help:"Write a new random /etc/machine-id."`
	Clock     bool          `help:"Set the guest's clock to the host's, if it is behind."`
	ClockBack bool          `help:"Set the guest's clock to the host's, even backwards."`
	Hostname  string        `placeholder:"NAME" help:"Set the guest's hostname."`
	SSHKeys   bool          `name:"ssh-keys" help:"Generate new SSH host keys, if sshd is installed."`
	File      string        `name:"resume-file" placeholder:"FILE" help:"Give the guest the network that a JSON document describes; - is standard input."`
	Timeout   time.Duration `short:"W" default:"2m" help:"Time limit for the answer."`
	JSON      bool          `name:"json" help:"Print one JSON object."`
}

// Help is what --help says besides the flags.
func (*reseedCommand) Help() string {
	return `Reseeds the guest kernel's random number generator with 32 random bytes from the
host, and removes the random seed that systemd stored for the next boot. The flags
add further steps. Run it right after a VM was restored, before any other command.
Repeating it is harmless. Running programs keep the random numbers and settings that
they have already read.

Each step is reported in one line. In JSON each has "name", "changed", "note",
"error_kind" and "error"; the last two are empty if it succeeded. If a step fails, the others still run. An agent
that supports only protocol version 1 accepts only --machine-id.

--resume-file names a JSON document with the clone's interfaces, by MAC, and their
addresses and routes, resolvers and hosts. An unknown field in it is an error, and so
is an agent that knows no networks. A pipe or standard input is read to its end before
--timeout begins. docs/guests.md describes the fields. Exit status:

  0  all steps succeeded
  1  a step failed, or the agent did not answer
  2  invalid command line

  cocoon-agent reseed --cid 3 --resume --hostname web-17
  cocoon-agent reseed --cid 3 --resume --resume-file clone.json
  cocoon-agent reseed --target hvsock:///run/vm/v.sock --clock`
}

// Run asks and prints.
func (r *reseedCommand) Run(k *kong.Context) error {
	if r.Timeout <= 0 {
		return misuse("--timeout %v: want more than 0", r.Timeout)
	}
	if r.Hostname == "" && given(k, "hostname") {
		return misuse("--hostname is empty: want a name")
	}
	if r.File == "" && given(k, "resume-file") {
		return misuse("--resume-file is empty: want a file, or -")
	}
	network, err := readNetwork(r.File)
	if err != nil {
		return misuse("--resume-file: %v", err)
	}
	url, err := r.url(k)
	if err != nil {
		return err
	}
	c, err := r.dial(context.Background(), url)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), r.Timeout)
	defer cancel()
	report, err := c.ReseedWith(ctx, client.ReseedOptions{
		MachineID: r.MachineID || r.Resume, Hostname: r.Hostname, SSHKeys: r.SSHKeys || r.Resume,
		Clock: r.Clock || r.Resume, ClockBack: r.ClockBack, Network: network,
	})
	if report != nil {
		printed := printSteps
		if r.JSON {
			printed = printStepsJSON
		}
		if err := printed(k.Stdout, report.Steps); err != nil {
			return err
		}
	}
	failed, ok := errors.AsType[*client.ReseedError](err)
	switch {
	case ok:
		return fmt.Errorf("%s: %d of %d steps failed", url, len(failed.Failed()), len(report.Steps))
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: no answer within %v: the reseed may or may not have completed", url, r.Timeout)
	case err != nil:
		return fmt.Errorf("%s: %w", url, err)
	default:
		return nil
	}
}

// readNetwork reads the document in a file, in standard input (-), or none.
func readNetwork(path string) (*client.Network, error) {
	if path == "" {
		return nil, nil
	}
	file := os.Stdin
	if path != "-" {
		var err error
		if file, err = os.Open(path); err != nil {
			return nil, err
		}
		defer file.Close()
	}
	text, err := io.ReadAll(io.LimitReader(file, client.MaxNetworkDocument+1))
	if err != nil {
		return nil, err
	}
	network, err := client.ParseNetwork(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return network, nil
}

// Bounds of what a guest can have printed. There are fewer than twenty steps.
const (
	maxSteps    = 64
	maxStepText = 256 // characters of each
)

func printSteps(out io.Writer, steps []client.ReseedStep) error {
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

// printStepsJSON is a contract: names stay.
func printStepsJSON(out io.Writer, steps []client.ReseedStep) error {
	return writeJSON(out, struct {
		Steps []stepJSON `json:"steps"`
	}{stepsJSON(steps)})
}

// A stepJSON is a contract: names stay.
type stepJSON struct {
	Name    string `json:"name"`
	Changed bool   `json:"changed"`
	Note    string `json:"note"`
	Kind    string `json:"error_kind"`
	Error   string `json:"error"`
}

func stepsJSON(steps []client.ReseedStep) []stepJSON {
	all := make([]stepJSON, 0, len(steps))
	for _, s := range steps[:min(len(steps), maxSteps)] {
		one := stepJSON{Name: s.Name, Changed: s.Changed, Note: s.Note}
		if s.Err != nil {
			one.Kind, one.Error = string(s.Err.Kind), s.Err.Message
		}
		all = append(all, one)
	}
	return all
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
