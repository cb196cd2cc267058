// Command jobs runs commands in many VMs, a few at a time, over one connection to each VM. It
// reads lines "TARGET COMMAND…", has a shell in the VM run each command, and prints a JSON line
// for each when that has ended.
//
//	jobs [-n 8] [-timeout 1m] <list
//
// The outcome says what a scheduler must know: whether a job may be started again.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

// A Result is what has become of a job.
type Result struct {
	Target  string  `json:"target"`
	Command string  `json:"command"`
	Outcome Outcome `json:"outcome"`
	Status  int     `json:"status"` // of the command, as a shell has it; -1: not known
	Output  string  `json:"output"`
	Error   string  `json:"error,omitempty"`
}

// An Outcome classes results.
type Outcome string

// Outcomes.
const (
	Done     Outcome = "done"    // it exited with 0, and all of its output is here
	Failed   Outcome = "failed"  // it ran, and did not succeed
	TimedOut Outcome = "timeout" // it was ended because it took too long
	NotRun   Outcome = "not run" // it has not run, and may be started again
	Unknown  Outcome = "unknown" // it may have run: look before starting it again
	Partial  Outcome = "partial" // it ended, but part of its output is lost
)

func main() {
	n := flag.Int("n", 8, "how many jobs run at a time")
	timeout := flag.Duration("timeout", time.Minute, "how long a job may take")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *n, *timeout, os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "jobs:", err)
		os.Exit(1)
	}
}

// run runs the jobs that in lists.
func run(ctx context.Context, n int, timeout time.Duration, in io.Reader, out io.Writer) error {
	pool := client.NewPool(client.PoolConfig{})
	defer pool.Close()
	var printing sync.Mutex
	results := json.NewEncoder(out)
	var running sync.WaitGroup
	defer running.Wait()
	free := make(chan struct{}, max(n, 1))
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		target, command, ok := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		if !ok {
			return fmt.Errorf("line %q: want TARGET COMMAND…", lines.Text())
		}
		free <- struct{}{}
		running.Go(func() {
			defer func() { <-free }()
			r := job(ctx, pool, target, command, timeout)
			printing.Lock()
			defer printing.Unlock()
			_ = results.Encode(r)
		})
	}
	return lines.Err()
}

// job runs one command in the VM at target.
func job(ctx context.Context, pool *client.Pool, target, command string, timeout time.Duration) Result {
	r := Result{Target: target, Command: command, Status: -1}
	c, err := pool.Get(ctx, target)
	if err != nil {
		r.Outcome, r.Error = NotRun, err.Error()
		return r
	}
	cmd := c.CommandContext(ctx, "sh", "-c", command)
	cmd.Timeout = timeout // the agent keeps it, whatever becomes of this program
	output, err := cmd.CombinedOutput()
	r.Output, r.Outcome = string(output), outcome(err)
	if state := cmd.ProcessState; state != nil {
		r.Status = state.ExitStatus()
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

func outcome(err error) Outcome {
	exit, exited := errors.AsType[*client.ExitError](err)
	_, maybe := errors.AsType[*client.MaybeStartedError](err)
	_, lost := errors.AsType[*client.LostExitError](err)
	_, truncated := errors.AsType[*client.TruncatedError](err)
	_, long := errors.AsType[*client.OutputLimitError](err)
	switch {
	case err == nil:
		return Done
	case exited && exit.Reason() == client.ReasonTimeout:
		return TimedOut
	case exited:
		return Failed
	case maybe, lost:
		return Unknown
	case truncated, long:
		return Partial
	default: // the agent refused it, or there is no connection
		return NotRun
	}
}
