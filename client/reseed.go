package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// ReseedOptions say what a clone of a snapshot needs besides new random state,
// which it gets in any case.
type ReseedOptions struct {
	// Entropy is 16 to 512 bytes that no other clone gets. nil: 32 bytes of
	// this host's random numbers.
	Entropy []byte

	MachineID bool   // write a new random /etc/machine-id
	Hostname  string // empty: leave it
	SSHKeys   bool   // make new host keys, if sshd is installed

	Clock     bool // set the guest's clock by this host's, forward
	ClockBack bool // or back

	// Now is the time that the guest's clock is set to. nil: this host's clock.
	Now func() time.Time

	// Network is the clone's. nil: leave the one that it woke with. If the agent is too old
	// for it, or no agent for Linux, the error is a [*RemoteError] of kind [Unsupported],
	// and the agent has tried no step.
	Network *Network
}

// A ReseedReport is what has become of each step, in the order in which they
// were taken.
type ReseedReport struct {
	Steps []ReseedStep
}

// A ReseedStep is one of entropy, random_seed, machine_id, dbus_id, clock,
// hostname and ssh_keys, one of a [Network], or of a later agent's (docs/protocol.md, section 3).
type ReseedStep struct {
	Name    string
	Changed bool         // the guest is not as it was
	Note    string       // the agent's, for people: how, or why not
	Err     *RemoteError // nil: nothing has gone wrong
}

// A ReseedError says that steps of [Client.ReseedWith] or [Client.Reseed] have
// failed. The others have been taken.
type ReseedError struct {
	Report ReseedReport
}

// Bounds of [ReseedError.Error]. There are fewer than twenty steps.
const (
	maxFailedSteps = 64
	maxStepText    = 256 // bytes of each step's
)

// Error names the steps that have failed, each with the agent's message, of some KiB
// at most.
func (e *ReseedError) Error() string {
	var failed []string
	all := e.Failed()
	for _, s := range all[:min(len(all), maxFailedSteps)] {
		failed = append(failed, s.Name+": "+printable(s.Err.Message, maxStepText))
	}
	return printable(strings.Join(failed, "; "), maxMessage)
}

// Failed returns the steps that have failed: one or more.
func (e *ReseedError) Failed() []ReseedStep {
	var failed []ReseedStep
	for _, s := range e.Report.Steps {
		if s.Err != nil {
			failed = append(failed, s)
		}
	}
	return failed
}

// Unwrap returns the errors of the steps that have failed.
func (e *ReseedError) Unwrap() []error {
	var all []error
	for _, s := range e.Failed() {
		all = append(all, s.Err)
	}
	return all
}

// ReseedWith makes a guest that has been restored from a snapshot a machine of its own.
// Call it first after a restore, before any command runs; it may be called again at any
// time. New keys may take seconds. It waits for the agent's answer until ctx ends.
//
// The agent tries each step, whether or not others fail. If any fails, the error is a
// [*ReseedError], with the same report. A [*RemoteError] says that the agent has tried
// no step. After any other error it is not known what was done: call ReseedWith again. One
// that wraps [ErrProtocol] says that the agent did not report a step that was asked
// for.
func (c *Client) ReseedWith(ctx context.Context, o ReseedOptions) (*ReseedReport, error) {
	m := wire.Reseed{
		Entropy: o.Entropy, MachineID: o.MachineID, Hostname: o.Hostname, SSHKeys: o.SSHKeys, ClockBack: o.ClockBack,
	}
	if o.Network != nil {
		if err := c.needs(ctx, wire.FeatureReseedNetwork); err != nil {
			return nil, err
		}
		network, err := o.Network.message()
		if err != nil {
			return nil, err
		}
		m.Network = network
	}
	if m.Entropy == nil {
		m.Entropy = make([]byte, 32)
		_, _ = rand.Read(m.Entropy) // never fails
	}
	now := func() uint64 { return 0 }
	if o.Clock || o.ClockBack {
		trip, err := c.roundTrip(ctx)
		if err != nil {
			return nil, err
		}
		if o.Now == nil {
			o.Now = time.Now
		}
		now = func() uint64 { return uint64(max(o.Now().Add(trip/2).UnixNano(), 1)) }
	}
	report, err := c.reseed(ctx, &m, now)
	if failed, ok := errors.AsType[*ReseedError](err); ok {
		return &failed.Report, err
	}
	return report, err
}

// Reseed is [Client.ReseedWith] with fewer options. The guest's kernel credits entropy to
// its random number generator and reseeds it. entropy is 16 to 512 bytes that no other
// clone of the snapshot gets. If regenMachineID is true, the agent then writes a new
// random /etc/machine-id.
func (c *Client) Reseed(ctx context.Context, entropy []byte, regenMachineID bool) error {
	_, err := c.reseed(ctx, &wire.Reseed{Entropy: entropy, MachineID: regenMachineID}, func() uint64 { return 0 })
	return err
}

// reseed asks for what m says, with the clock at now, and checks the answer.
func (c *Client) reseed(ctx context.Context, m *wire.Reseed, now func() uint64) (*ReseedReport, error) {
	done, err := c.request(ctx, func(h wire.Head) wire.Message {
		m.Head, m.ClockNS = h, now() // the last thing before it is sent
		return m
	})
	if err != nil {
		return nil, err
	}
	report := ReseedReport{resumeSteps(done.Steps)}
	if e := (&ReseedError{report}); len(e.Failed()) > 0 { // whatever the answer is called
		return nil, e
	}
	if err := checkSteps(m, done.Steps, c.Protocol()); err != nil {
		return nil, err
	}
	return &report, nil
}

// checkSteps returns an error that wraps ErrProtocol if steps leave out one that m asks
// for (docs/protocol.md, section 3). For an agent of version 1 steps has only those
// that version 1 has.
func checkSteps(m *wire.Reseed, steps []wire.Step, p Protocol) error {
	changesInterfaces := m.Network != nil && len(m.Network.Interfaces) > 0
	for _, want := range []struct {
		name  string
		asked bool
	}{
		{"entropy", true},
		{"random_seed", p != Protocol1},
		{"machine_id", m.MachineID},
		{"dbus_id", m.MachineID && p != Protocol1},
		{"clock", m.ClockNS != 0},
		{"hostname", m.Hostname != ""},
		{"ssh_keys", m.SSHKeys},
		{"interfaces", changesInterfaces},
		{"addresses", changesInterfaces},
		{"mac", changesInterfaces},
		{"routes", changesInterfaces},
		{"neighbours", changesInterfaces},
		{"manager", changesInterfaces},
		{"dns", m.Network != nil && m.Network.DNS != nil},
		{"hosts", m.Network != nil && len(m.Network.Hosts) > 0},
	} {
		taken := func(s wire.Step) bool { return s.Name == want.name }
		if want.asked && !slices.ContainsFunc(steps, taken) {
			return fmt.Errorf("%w: no result for the requested step %q", ErrProtocol, want.name)
		}
	}
	return nil
}

// roundTrip is the shortest of three: the first may find caches cold, and what
// makes one longer than the others need not lie in the half that counts.
func (c *Client) roundTrip(ctx context.Context) (time.Duration, error) {
	shortest := time.Duration(0)
	for range 3 {
		asked := time.Now()
		if err := c.Ping(ctx); err != nil {
			return 0, err
		}
		if trip := time.Since(asked); shortest == 0 || trip < shortest {
			shortest = trip
		}
	}
	return shortest, nil
}

// requestError makes an error of the answer to a request other than exec.
func requestError(m *wire.Error) error {
	e := &ReseedError{ReseedReport{resumeSteps(m.Steps)}}
	if len(e.Failed()) > 0 {
		return e
	}
	return remoteError(m.Kind, m.Message)
}

// maxStepName is how many bytes the name of a step keeps.
const maxStepName = 64

func resumeSteps(steps []wire.Step) []ReseedStep {
	all := make([]ReseedStep, len(steps))
	for i, s := range steps {
		all[i] = ReseedStep{Name: printable(s.Name, maxStepName), Changed: s.Changed, Note: printable(s.Message, maxMessage)}
		if s.Kind != "" {
			all[i].Note, all[i].Err = "", remoteError(s.Kind, s.Message)
		}
	}
	return all
}
