//go:build linux

package client_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
)

func TestPoolsAttemptOutlivesTheCallerWhoBeganIt(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	p := newPool(t, client.PoolConfig{})
	v.Pause()
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, err := p.Get(ctx, v.Target)
		first <- err
	}()
	agenttest.Eventually(t, "an attempt", func() bool { return v.Connections() == 1 })
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	v.Resume()
	get(t, p, v.Target)
	if n := v.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestPoolSaysWhatIsWrongWithATarget(t *testing.T) {
	p := newPool(t, soon())
	for target, want := range map[string]string{
		"vsock://x":             `target "vsock://x": CID "x": want a number`,
		"unix:///no/such/agent": "connect to unix:///no/such/agent: connect: no such file or directory",
	} {
		if _, err := p.Get(patiently(t), target); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Get(%s) = %v, want %s", target, err, want)
		}
	}
	if n := p.Stats().Targets; n != 1 {
		t.Errorf("%d targets", n)
	}
}

func TestPoolWaitsBetweenAttempts(t *testing.T) {
	config := soon()
	config.MinBackoff = time.Hour
	p := newPool(t, config)
	const target = "unix:///no/such/agent"
	if _, err := p.Get(patiently(t), target); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for range 3 {
		if _, err := p.Get(ctx, target); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	}
	if s := p.Stats(); s.Dials != 1 || s.DialErrors != 1 {
		t.Errorf("Stats = %+v, want one dial, which failed", s)
	}
}

func TestPoolTriesAgainAfterAFailure(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, "/no/such/agent")
	p := newPool(t, soon())
	for range 3 {
		if _, err := p.Get(patiently(t), v.Target); err == nil || !strings.Contains(err.Error(), "the VMM closed the connection") {
			t.Fatal(err)
		}
	}
	v.Boot(a.Path)
	if err := say(patiently(t), p, v.Target, "there"); err != nil {
		t.Error(err)
	}
}

func TestPoolsDeadVMDelaysNobodyElse(t *testing.T) {
	a := agenttest.Start(t)
	dead, well := startVMM(t, a.Path), startVMM(t, a.Path)
	dead.Pause()
	p := newPool(t, client.PoolConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range 100 {
		waiting.Go(func() {
			if _, err := p.Get(ctx, dead.Target); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	agenttest.Eventually(t, "an attempt", func() bool { return dead.Connections() == 1 })
	for range 10 {
		if err := say(patiently(t), p, well.Target, "hello"); err != nil {
			t.Error(err)
		}
	}
	cancel()
	waiting.Wait()
}

func TestPoolGivesUpAVMThatDoesNotAnswer(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	v.Pause()
	config := soon()
	config.DialTimeout = 20 * time.Millisecond
	p := newPool(t, config)
	_, err := p.Get(patiently(t), v.Target)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer within 20ms") {
		t.Error(err)
	}
}

func TestPoolSaysWhyItWouldHaveWaited(t *testing.T) {
	config := soon()
	config.MinBackoff = time.Hour
	p := newPool(t, config)
	_, _ = p.Get(patiently(t), "unix:///no/such/agent")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	_, err := p.Get(ctx, "unix:///no/such/agent")
	const want = "connect to unix:///no/such/agent: context canceled; first attempt: connect: no such file or directory"
	if !errors.Is(err, context.Canceled) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestPoolKeepsABackOffBeyondIdleTimeout(t *testing.T) {
	config := soon()
	config.MinBackoff, config.IdleTimeout = time.Hour, time.Millisecond
	a := agenttest.Start(t)
	p := newPool(t, config)
	_, _ = p.Get(patiently(t), "unix:///no/such/agent")
	<-get(t, p, a.Target).Done() // closed as idle
	agenttest.Eventually(t, "the other target is forgotten", func() bool { return p.Stats().Targets < 2 })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := p.Get(ctx, "unix:///no/such/agent"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if s := p.Stats(); s.Targets != 1 || s.Dials != 2 {
		t.Errorf("Stats = %+v, want one target and two dials", s)
	}
}

func TestBackOffIsJitteredAndBounded(t *testing.T) {
	config := client.PoolConfig{MinBackoff: 100 * time.Millisecond, MaxBackoff: 5 * time.Second}
	for failures, most := range []time.Duration{1: 200e6, 2: 400e6, 3: 800e6, 4: 1600e6, 5: 3200e6, 6: 5e9, 7: 5e9, 1000: 5e9} {
		if most == 0 {
			most = 5e9
		}
		if failures == 0 {
			most = 100e6
		}
		seen := make(map[time.Duration]bool)
		for range 20 {
			d := client.BackOff(config, failures)
			if d < most/2 || d > most {
				t.Errorf("after %d failures and one more: %v, want %v to %v", failures, d, most/2, most)
			}
			seen[d] = true
		}
		if len(seen) < 2 {
			t.Errorf("after %d failures and one more it is always the same", failures)
		}
	}
}
