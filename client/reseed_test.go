//go:build linux

package client_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// e2e/reseed shows the effect of the steps in a guest.

type resumed struct {
	report *client.ReseedReport
	err    error
}

// resume has a client ask a hostile guest, and returns what it has asked and
// where its result will be.
func resume(t *testing.T, o client.ReseedOptions) (*guest, *wire.Reseed, <-chan resumed) {
	t.Helper()
	c, g := hostile(t)
	result := make(chan resumed, 1)
	go func() { // ends with the answer, or the connection
		report, err := c.ReseedWith(patiently(t), o)
		result <- resumed{report, err}
	}()
	for {
		switch m := g.receive().(type) {
		case *wire.Ping:
			g.send(&wire.Done{Head: wire.Head{ID: m.ID}})
		case *wire.Reseed:
			return g, m, result
		default:
			t.Fatalf("the agent gets %+v, want a ping or a reseed", m)
		}
	}
}

func TestResumeSendsWhatIsAskedFor(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	g, m, result := resume(t, client.ReseedOptions{
		MachineID: true, Hostname: "web", SSHKeys: true, Clock: true, ClockBack: true, Now: func() time.Time { return now },
	})
	if len(m.Entropy) != 32 || !m.MachineID || m.Hostname != "web" || !m.SSHKeys || !m.ClockBack {
		t.Errorf("the agent gets %+v, want all the options and 32 bytes of entropy", m)
	}
	if late := time.Unix(0, int64(m.ClockNS)).Sub(now); late <= 0 || late > agenttest.Patience {
		t.Errorf("the clock is to be set %v ahead, want half of a round trip", late)
	}
	steps := stepsOf("entropy", "random_seed", "machine_id", "dbus_id", "clock", "hostname", "ssh_keys")
	steps[6] = wire.Step{Name: "ssh_keys", Message: "sshd is not installed"}
	g.send(&wire.Done{Head: wire.Head{ID: m.ID}, Steps: steps})
	got := <-result
	if got.err != nil || len(got.report.Steps) != 7 ||
		got.report.Steps[0] != (client.ReseedStep{Name: "entropy", Changed: true}) ||
		got.report.Steps[6] != (client.ReseedStep{Name: "ssh_keys", Note: "sshd is not installed"}) {
		t.Errorf("Resume = %+v, %v, want the 7 steps", got.report, got.err)
	}
}

func TestResumeDrawsEntropyAndLeavesTheClock(t *testing.T) {
	_, one, _ := resume(t, client.ReseedOptions{})
	_, other, _ := resume(t, client.ReseedOptions{})
	if bytes.Equal(one.Entropy, other.Entropy) || one.ClockNS != 0 {
		t.Errorf("the agent gets %+v and %+v, want other entropy and no clock", one, other)
	}
}

func TestResumeErrorTellsWhichStepsHaveFailed(t *testing.T) {
	g, m, result := resume(t, client.ReseedOptions{Entropy: make([]byte, 16), MachineID: true})
	g.send(&wire.Error{Head: wire.Head{ID: m.ID}, Kind: wire.Limit, Message: "all of it", Steps: []wire.Step{
		{Name: "entropy", Changed: true},
		{Name: "machine_id", Kind: wire.Limit, Message: "disk full"},
		{Name: "clock", Kind: "of a later agent's", Message: "strange"},
	}})
	got := <-result
	failed, ok := errors.AsType[*client.ReseedError](got.err)
	if !ok || len(failed.Failed()) != 2 || got.report == nil || len(got.report.Steps) != 3 {
		t.Fatalf("Resume = %+v, %v, want two of three steps failed", got.report, got.err)
	}
	if want := "machine_id: disk full; clock: strange"; got.err.Error() != want {
		t.Errorf("%q, want %q", got.err, want)
	}
	wantKind(t, got.err, client.Limit)
	if kind := failed.Failed()[1].Err.Kind; kind != client.Internal {
		t.Errorf("a kind that is not known is %q", kind)
	}
}

// stepsOf are steps that have been taken.
func stepsOf(names ...string) []wire.Step {
	var steps []wire.Step
	for _, name := range names {
		steps = append(steps, wire.Step{Name: name, Changed: true})
	}
	return steps
}

func TestResumeFailsIfAStepHasNoResult(t *testing.T) {
	all := []string{"entropy", "random_seed", "machine_id", "dbus_id", "clock", "hostname", "ssh_keys"}
	for n, missing := range all {
		t.Run(missing, func(t *testing.T) {
			g, m, result := resume(t, client.ReseedOptions{MachineID: true, Hostname: "web", SSHKeys: true, Clock: true})
			g.send(&wire.Done{Head: wire.Head{ID: m.ID}, Steps: stepsOf(slices.Delete(slices.Clone(all), n, n+1)...)})
			if got := <-result; !errors.Is(got.err, client.ErrProtocol) || !strings.Contains(got.err.Error(), missing) {
				t.Errorf("Resume = %v, want an ErrProtocol that names %s", got.err, missing)
			}
		})
	}
}

func TestStepThatHasFailedIsAnErrorInDoneToo(t *testing.T) {
	failed := []wire.Step{{Name: "entropy", Kind: wire.PermissionDenied, Message: "not permitted"}, {Name: "random_seed"}}
	g, m, result := resume(t, client.ReseedOptions{})
	g.send(&wire.Done{Head: wire.Head{ID: m.ID}, Steps: failed})
	got := <-result
	if e, ok := errors.AsType[*client.ReseedError](got.err); !ok || len(e.Failed()) != 1 || got.report == nil || len(got.report.Steps) != 2 {
		t.Errorf("Resume = %+v, %v, want a ReseedError of one step", got.report, got.err)
	}
	for name, steps := range map[string][]wire.Step{"failed": failed, "missing": nil, "another": stepsOf("later")} {
		c, g := hostile(t)
		reseeded := make(chan error, 1)
		go func() { reseeded <- c.Reseed(patiently(t), make([]byte, 32), false) }() // ends by the answer
		_, id := wire.About(g.receive())
		g.send(&wire.Done{Head: wire.Head{ID: id}, Steps: steps})
		if err := <-reseeded; err == nil {
			t.Errorf("Reseed, entropy %s = nil, want an error", name)
		}
	}
}

func TestResumeErrorIsShort(t *testing.T) {
	var e client.ReseedError
	for range 1000 {
		e.Report.Steps = append(e.Report.Steps, client.ReseedStep{
			Name: "x", Err: &client.RemoteError{Kind: client.Internal, Message: strings.Repeat("M", 4<<10)},
		})
	}
	if text := e.Error(); len(text) > 4<<10 || !strings.HasPrefix(text, "x: MMM") {
		t.Errorf("Error() has %d bytes, want at most %d", len(text), 4<<10)
	}
}

func TestAgentThatTakesNoStepsIsAnError(t *testing.T) {
	g, m, result := resume(t, client.ReseedOptions{SSHKeys: true})
	g.send(&wire.Done{Head: wire.Head{ID: m.ID}})
	if got := <-result; !errors.Is(got.err, client.ErrProtocol) || got.report != nil {
		t.Errorf("Resume = %+v, %v, want nil, %v", got.report, got.err, client.ErrProtocol)
	}
}

func TestInvalidResumeTakesNoStep(t *testing.T) {
	c, _ := dial(t)
	for _, o := range []client.ReseedOptions{
		{Entropy: make([]byte, 513)},
		{Hostname: "not a name"},
	} {
		report, err := c.ReseedWith(patiently(t), o)
		if _, ok := errors.AsType[*client.ReseedError](err); ok || report != nil {
			t.Errorf("Resume = %+v, %v, want no report and no ReseedError", report, err)
		}
		wantKind(t, err, client.BadRequest)
	}
}

func TestInfoCountsNoResumeThatHasFailed(t *testing.T) {
	c, _ := dial(t)
	_ = c.Reseed(patiently(t), nil, false)
	if i, err := c.Info(patiently(t)); err != nil || i.Resumes != 0 {
		t.Errorf("Info = %+v, %v, want no resumes", i, err)
	}
}
