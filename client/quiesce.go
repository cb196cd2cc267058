package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// QuiesceOptions say how still a guest is to hold for a snapshot.
type QuiesceOptions struct {
	// Timeout is after what time the guest goes on by itself, in whole milliseconds, 10 minutes
	// at most. 0: 10 s. The time is the guest's: it stands still while the VM is paused.
	Timeout time.Duration

	// FreezeExecs stops all commands that hosts have started. A snapshot of memory and disks
	// needs it only if the disks are to be consistent without the memory.
	FreezeExecs bool

	// FreezeFS freezes the guest's file systems. A copy of the disks alone needs it.
	FreezeFS bool
}

// A QuiesceError says that a step of [Client.Quiesce] or [Client.Thaw] has failed. After a Quiesce
// the guest goes on.
type QuiesceError struct {
	Steps []ReseedStep // all of them, in the order in which they were taken
}

// Error names the steps that have failed, each with the agent's message, of some KiB
// at most.
func (e *QuiesceError) Error() string { return e.steps().Error() }

// Unwrap returns the errors of the steps that have failed.
func (e *QuiesceError) Unwrap() []error { return e.steps().Unwrap() }

func (e *QuiesceError) steps() *ReseedError { return &ReseedError{ReseedReport{e.Steps}} }

// Quiesce makes the guest hold still, for a snapshot or a copy of its disks, and returns what
// has become of each step (docs/protocol.md, section 14). It runs the guest's hooks, which may take 30
// seconds, and writes its caches to the disks, and waits for that until ctx ends. The caller then
// makes the copy, and calls Thaw, over any connection.
//
// Until then the agent refuses other work with a [*RemoteError] of the kind [Limit]. Another Quiesce
// gives the guest more time. If a step fails, the guest goes on, and the error is a [*QuiesceError],
// with the same steps. After an error that says that no answer has come, call Thaw.
func (c *Client) Quiesce(ctx context.Context, o QuiesceOptions) ([]ReseedStep, error) {
	if o.Timeout < 0 || o.Timeout > 0 && o.Timeout < time.Millisecond {
		return nil, fmt.Errorf("client: timeout %v: want 1 ms or more", o.Timeout)
	}
	if err := c.needs(ctx, wire.FeatureQuiesce); err != nil {
		return nil, err
	}
	done, err := c.request(ctx, func(h wire.Head) wire.Message {
		return &wire.Quiesce{Head: h, TimeoutMS: uint64(o.Timeout.Milliseconds()), FreezeExecs: o.FreezeExecs, FreezeFS: o.FreezeFS}
	})
	return quiesceSteps(done, err)
}

// A Thawed says how the latest Quiesce of a guest has ended.
type Thawed struct {
	// Held says that the guest has held still until Thaw, as Quiesce asked. Otherwise a copy
	// that was made meanwhile is to be thrown away.
	Held bool

	// By is what has ended it: "host", "timeout", "reseed", "restore", "shutdown", "failed" or "guard", or what a
	// later agent says (docs/protocol.md, section 14). Empty: the agent knows of no Quiesce.
	By string

	After time.Duration // how long the guest has held still
	Steps []ReseedStep  // what was done now; none if the guest went on already
}

// Thaw lets a guest go on that holds still, and waits for its hooks. It may be called at any time,
// and more than once. If the error is a [*QuiesceError], hooks have failed, or something is still frozen;
// the result is there, too.
func (c *Client) Thaw(ctx context.Context) (*Thawed, error) {
	if err := c.needs(ctx, wire.FeatureQuiesce); err != nil {
		return nil, err
	}
	done, err := c.request(ctx, func(h wire.Head) wire.Message { return &wire.Thaw{Head: h} })
	steps, err := quiesceSteps(done, err)
	switch {
	case done == nil:
		return nil, err
	case done.Thawed == nil:
		return nil, fmt.Errorf("%w: the answer to thaw does not say how it has ended", ErrProtocol)
	}
	return &Thawed{
		Held: done.Thawed.Held, By: printable(done.Thawed.By, maxStepName), Steps: steps,
		After: time.Duration(min(done.Thawed.MS, 1<<40)) * time.Millisecond,
	}, err
}

// quiesceSteps returns the steps of an answer. Some may have failed, whatever the answer is called.
func quiesceSteps(done *wire.Done, err error) ([]ReseedStep, error) {
	if failed, ok := errors.AsType[*ReseedError](err); ok {
		return failed.Report.Steps, &QuiesceError{failed.Report.Steps}
	}
	if err != nil {
		return nil, err
	}
	steps := resumeSteps(done.Steps)
	if e := (&QuiesceError{steps}); len(e.steps().Failed()) > 0 {
		return steps, e
	}
	return steps, nil
}
