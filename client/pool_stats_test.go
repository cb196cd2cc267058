//go:build linux

package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// execs greets, and answers each exec by what answers returns. No answer ends the
// connection.
func (g *guest) execs(answers func(e *wire.Exec) []wire.Message) {
	g.offend(greeting("boot", "agent-of-16-byte"))
	for {
		m, err := wire.Read(g.in)
		if err != nil {
			return // the connection has ended
		}
		e, ok := m.(*wire.Exec)
		if !ok {
			g.offend(&wire.Done{Head: wire.Head{ID: mustID(m)}})
			continue
		}
		all := answers(e)
		for _, m := range all {
			g.offend(m)
		}
		if last := slices.IndexFunc(all, func(m wire.Message) bool { _, ok := m.(*wire.Started); return !ok }); last < 0 {
			_ = g.mux.Close()
			return
		}
	}
}

func mustID(m wire.Message) uint64 {
	_, id := wire.About(m)
	return id
}

// Each command is counted once, whatever has become of it.
func TestPoolCountsHowCommandsEnd(t *testing.T) {
	started := func(e *wire.Exec) wire.Message { return &wire.Started{Head: e.Head, PID: 42} }
	ended := func(x wire.Exited) func(e *wire.Exec) []wire.Message {
		return func(e *wire.Exec) []wire.Message {
			x.Head = e.Head
			return []wire.Message{started(e), &x}
		}
	}
	refused := func(kind wire.ErrorKind) func(e *wire.Exec) []wire.Message {
		return func(e *wire.Exec) []wire.Message {
			return []wire.Message{&wire.Error{Head: e.Head, Kind: kind, Message: "no"}}
		}
	}
	term := wire.Exited{Code: -1, SignalNumber: 15, Signal: "TERM"}
	by := func(x wire.Exited, reason wire.Reason) wire.Exited {
		x.Reason = reason
		return x
	}
	for name, test := range map[string]struct {
		answers func(*wire.Exec) []wire.Message
		want    client.CommandStats
	}{
		"exit 0":              {ended(wire.Exited{Reason: wire.ReasonExit}), client.CommandStats{Succeeded: 1}},
		"exit 3":              {ended(wire.Exited{Reason: wire.ReasonExit, Code: 3}), client.CommandStats{Failed: 1}},
		"a signal":            {ended(by(term, wire.ReasonSignal)), client.CommandStats{Signaled: 1}},
		"a timeout":           {ended(by(term, wire.ReasonTimeout)), client.CommandStats{TimedOut: 1}},
		"timeout, exit 0":     {ended(wire.Exited{Reason: wire.ReasonTimeout}), client.CommandStats{TimedOut: 1}},
		"killed":              {ended(by(term, wire.ReasonKilled)), client.CommandStats{Ended: 1}},
		"shutdown":            {ended(by(term, wire.ReasonShutdown)), client.CommandStats{Ended: 1}},
		"a reason of 2030":    {ended(wire.Exited{Reason: "moved"}), client.CommandStats{Ended: 1}},
		"output is missing":   {ended(wire.Exited{Reason: wire.ReasonExit, StdoutBytes: 9}), client.CommandStats{Incomplete: 1}},
		"not known to agent":  {ended(wire.Exited{Reason: wire.ReasonLost}), client.CommandStats{Lost: 1}},
		"lost":                {func(e *wire.Exec) []wire.Message { return []wire.Message{started(e)} }, client.CommandStats{Lost: 1}},
		"lost before started": {func(*wire.Exec) []wire.Message { return nil }, client.CommandStats{MaybeStarted: 1}},
		"no such command":     {refused(wire.NotFound), client.CommandStats{Refused: 1}},
		"a limit":             {refused(wire.Limit), client.CommandStats{Limited: 1}},
		"going down":          {refused(wire.ShuttingDown), client.CommandStats{NotStarted: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := fakePool(t, client.PoolConfig{}, func(_ int, g *guest) { g.execs(test.answers) })
			cmd := get(t, p, "the VM").CommandContext(patiently(t), "anything")
			cmd.Stdout = io.Discard
			err := cmd.Run()
			if diff := cmp.Diff(test.want, p.Stats().Commands); diff != "" {
				t.Errorf("%v (%T): -want +got:\n%s", err, err, diff)
			}
		})
	}
}

func TestPoolCountsNoCommandThatItWasNotAskedFor(t *testing.T) {
	a := agenttest.Start(t)
	p := newPool(t, client.PoolConfig{})
	c := get(t, p, a.Target)
	cmd := c.Command("true")
	cmd.Timeout = -1
	if err := cmd.Run(); err == nil {
		t.Fatal("a negative timeout is no error")
	}
	if err := cmd.Wait(); err == nil {
		t.Error("Wait of a command that was not started is no error")
	}
	if got := p.Stats().Commands; got != (client.CommandStats{}) {
		t.Errorf("Commands = %+v, want none", got)
	}
	if err := connect(t, a.Target).Command("true").Run(); err != nil { // of no pool
		t.Error(err)
	}
}

func states(p *client.Pool) client.PoolStates { return p.Stats().States }

func TestPoolKnowsTheStatesOfItsTargets(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	config := soon()
	config.DialTimeout, config.MinBackoff, config.MaxBackoff = time.Hour, time.Hour, time.Hour
	p := newPool(t, config)
	v.Pause()
	asked, stop := context.WithCancel(t.Context())
	got := make(chan error)
	go func() {
		_, err := p.Get(asked, v.Target)
		got <- err
	}()
	agenttest.Eventually(t, "connecting", func() bool { return states(p) == client.PoolStates{Connecting: 1} })
	v.Resume()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	stop()
	cmd, talk := talker(t, get(t, p, v.Target))
	agenttest.Eventually(t, "connected", func() bool { return states(p) == client.PoolStates{Connected: 1} })
	v.Pause()
	agenttest.Eventually(t, "silent", func() bool { return states(p) == client.PoolStates{Silent: 1} })
	v.Resume()
	agenttest.Eventually(t, "connected", func() bool { return states(p) == client.PoolStates{Connected: 1} })
	talk("")
	_ = cmd.Wait()

	// A pool that does not probe, and so does not look for another connection by itself.
	p = newPool(t, client.PoolConfig{MinBackoff: time.Hour, MaxBackoff: time.Hour})
	get(t, p, v.Target)
	const nowhere = "unix:///no/such/agent"
	if _, err := p.Get(patiently(t), nowhere); err == nil {
		t.Fatal("an agent that is not there answers")
	}
	v.Boot("/no/such/agent")
	v.Cut()
	agenttest.Eventually(t, "idle and failing", func() bool { return states(p) == client.PoolStates{Idle: 1, Failing: 1} })

	s, all := p.Stats(), p.Targets()
	if want := "connect to unix:///no/such/agent: connect: no such file or directory"; s.LastError != want || time.Since(s.LastErrorAt) > agenttest.Patience {
		t.Errorf("last error %q at %v, want %q", s.LastError, s.LastErrorAt, want)
	}
	if s.Lost != 1 {
		t.Errorf("%d connections were lost, want 1", s.Lost)
	}
	if len(all) != 2 || all[0].Target != v.Target || all[1].Target != nowhere {
		t.Fatalf("Targets = %+v, want %s and %s", all, v.Target, nowhere)
	}
	failing := all[1]
	if time.Until(failing.RetryAt) < time.Minute {
		t.Errorf("the next attempt is at %v", failing.RetryAt)
	}
	failing.RetryAt = time.Time{}
	want := client.TargetStats{Target: nowhere, State: client.TargetFailing, Failures: 1, LastError: "connect: no such file or directory"}
	if diff := cmp.Diff(want, failing); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestPoolTellsOfATarget(t *testing.T) {
	a := agenttest.Start(t)
	p := newPool(t, client.PoolConfig{})
	cmd, talk := talker(t, get(t, p, a.Target))
	hello, err := connect(t, a.Target).Hello(patiently(t))
	if err != nil {
		t.Fatal(err)
	}
	got := p.Targets()
	if len(got) != 1 {
		t.Fatalf("Targets = %+v, want one", got)
	}
	got[0].RetryAt = time.Time{} // it is young: whether it is of use is not known yet
	want := client.TargetStats{Target: a.Target, State: client.TargetConnected, Conns: 1, InUse: 1, Hello: &hello}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	talk("")
	wantExit(t, cmd.Wait(), 7)
}

// Bytes are counted while a connection is open, and stay when it has ended.
func TestPoolCountsBytes(t *testing.T) {
	const megabyte = 1 << 20
	a := agenttest.Start(t)
	p := newPool(t, client.PoolConfig{})
	cmd := get(t, p, a.Target).Command("cat")
	cmd.Stdin, cmd.Stdout = strings.NewReader(strings.Repeat("x", megabyte)), io.Discard
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	open := p.Stats()
	for what, n := range map[string]uint64{"received": open.ReceivedBytes, "sent": open.SentBytes} {
		if n < megabyte || n > megabyte+megabyte/16 {
			t.Errorf("%d bytes %s, want 1 MiB and some headers", n, what)
		}
	}
	p.Forget(a.Target)
	agenttest.Eventually(t, "its end", func() bool { return p.Stats().Conns == 0 })
	if ended := p.Stats(); ended.ReceivedBytes < open.ReceivedBytes || ended.SentBytes < open.SentBytes {
		t.Errorf("%+v, and before that %+v", ended, open)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if closed := p.Stats(); closed.ReceivedBytes < open.ReceivedBytes || closed.SentBytes < open.SentBytes {
		t.Errorf("%+v, and before that %+v", closed, open)
	}
}

func TestPoolStatsAsJSON(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for want, value := range map[string]any{
		`{"targets":1,"conns":2,"in_use":3,"dialing":4,` +
			`"states":{"connected":1,"silent":2,"connecting":3,"failing":4,"idle":5},` +
			`"dials":5,"dial_errors":6,"probes":7,"probe_timeouts":8,"stale":9,"evicted":10,"lost":11,"full":17,"retries":12,"forgotten":13,` +
			`"received_bytes":14,"sent_bytes":15,` +
			`"commands":{"succeeded":1,"failed":2,"signaled":3,"timed_out":4,"ended":5,"incomplete":6,"lost":7,"maybe_started":8,"not_started":9,"limited":10,"refused":11},` +
			`"last_error":"no","last_error_at":"2030-01-02T03:04:05Z"}`: client.PoolStats{
			Targets: 1, Conns: 2, InUse: 3, Dialing: 4,
			States: client.PoolStates{Connected: 1, Silent: 2, Connecting: 3, Failing: 4, Idle: 5},
			Dials:  5, DialErrors: 6, Probes: 7, ProbeTimeouts: 8, Stale: 9, Evicted: 10, Lost: 11, Full: 17, Retries: 12, Forgotten: 13,
			ReceivedBytes: 14, SentBytes: 15,
			Commands:  client.CommandStats{Succeeded: 1, Failed: 2, Signaled: 3, TimedOut: 4, Ended: 5, Incomplete: 6, Lost: 7, MaybeStarted: 8, NotStarted: 9, Limited: 10, Refused: 11},
			LastError: "no", LastErrorAt: at,
		},
		`{"target":"vsock://3:1024","state":"idle","conns":1,"in_use":0,` +
			`"hello":{"protocol":2,"version":"v1","os":"linux","arch":"amd64","boot_id":"b","agent_id":"a","resumes":1,"features":["linger"]},` +
			`"failures":2}`: client.TargetStats{
			Target: "vsock://3:1024", State: client.TargetIdle, Conns: 1, Failures: 2,
			Hello: &client.Hello{Protocol: 2, Version: "v1", OS: "linux", Arch: "amd64", BootID: "b", AgentID: "a", Resumes: 1, Features: []string{"linger"}},
		},
		`{"target":"vsock://3:1024","state":"failing","conns":0,"in_use":0,"failures":2,"last_error":"no","retry_at":"2030-01-02T03:04:05Z"}`: client.TargetStats{
			Target: "vsock://3:1024", State: client.TargetFailing, Failures: 2, LastError: "no", RetryAt: at,
		},
	} {
		if got, err := json.Marshal(value); err != nil || string(got) != want {
			t.Errorf("got  %s, %v\nwant %s", got, err, want)
		}
	}
}

// A VM that goes on is not silent, though its command leaves no time for a probe.
func TestPoolHearsThatAVMGoesOn(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	var p *client.Pool
	log := &pryingLog{pool: func() *client.Pool { return p }}
	p = newPool(t, client.PoolConfig{
		MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond, ProbeAfter: 400 * time.Millisecond,
		ProbeTimeout: 60 * time.Millisecond, DialTimeout: 60 * time.Millisecond, Logger: slog.New(log),
	})
	var c *client.Client
	agenttest.Eventually(t, "a connection", func() (ok bool) { // 60 ms may be too few on a busy machine
		var err error
		c, err = p.Get(patiently(t), v.Target)
		return err == nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	cmd := c.CommandContext(ctx, "sh", "-c", "while :; do echo tick; sleep 0.02; done")
	cmd.Stdout = io.Discard
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	v.Pause()
	agenttest.Eventually(t, "silent", func() bool { return states(p).Silent == 1 })
	before := p.Stats().DialErrors
	agenttest.Eventually(t, "the attempt is over", func() bool { return p.Stats().DialErrors > before })
	v.Resume()
	agenttest.Eventually(t, "not silent", func() bool { return states(p).Silent == 0 })
	agenttest.Eventually(t, "the log has it", func() bool { return log.has("INFO agent answers again") })
	cancel()
	_ = cmd.Wait()
}

// A command that the program itself has given up is not lost.
func TestPoolStatsTellCancelledFromLostCommands(t *testing.T) {
	deaf := func(_ int, g *guest) {
		g.offend(greeting("boot", "agent-of-16-byte"))
		for {
			m, err := wire.Read(g.in)
			if err != nil {
				return // the connection has ended
			}
			if e, ok := m.(*wire.Exec); ok {
				g.offend(&wire.Started{Head: e.Head, PID: 42})
			}
		}
	}
	for name, giveUp := range map[string]func(p *client.Pool, cancel func()){
		"WaitDelay": func(_ *client.Pool, cancel func()) { cancel() },
		"Forget":    func(p *client.Pool, _ func()) { p.Forget("the VM") },
		"Close":     func(p *client.Pool, _ func()) { _ = p.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := fakePool(t, client.PoolConfig{}, deaf)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			cmd := get(t, p, "the VM").CommandContext(ctx, "anything")
			cmd.WaitDelay = time.Millisecond
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			giveUp(p, cancel)
			err := cmd.Wait()
			if got := p.Stats().Commands; got != (client.CommandStats{Ended: 1}) {
				t.Errorf("Wait = %v (%T), Commands = %+v, want one ended", err, err, got)
			}
		})
	}
}

// A connection that has ended when its VM is forgotten ends for one reason.
func TestPoolCountsTheEndOfAConnectionOnce(t *testing.T) {
	for range 100 {
		p, _ := fakePool(t, client.PoolConfig{}, func(_ int, g *guest) {
			g.offend(greeting("boot", "agent-of-16-byte"))
			_, _ = wire.Read(g.in)
			_ = g.mux.Close()
		})
		c, err := p.Get(patiently(t), "the VM")
		if err != nil {
			continue
		}
		_ = c.Ping(patiently(t))
		<-c.Done()
		p.Forget("the VM")
		_ = p.Close()
		if s := p.Stats(); s.Lost+s.Forgotten+s.Evicted+s.Stale != 1 {
			t.Fatalf("%+v, want one connection to have ended", s)
		}
	}
}

func TestPoolForgivesFailuresOfATargetThatIsWell(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, "/no/such/agent")
	p := newPool(t, client.PoolConfig{MinBackoff: time.Millisecond, MaxBackoff: 2 * time.Millisecond})
	for range 3 {
		if _, err := p.Get(patiently(t), v.Target); err == nil {
			t.Fatal("an agent that is not there answers")
		}
	}
	if got := p.Targets()[0].Failures; got != 3 {
		t.Errorf("%d failures, want 3", got)
	}
	v.Boot(a.Path)
	agenttest.Eventually(t, "a command", func() bool { return say(patiently(t), p, v.Target, "hello") == nil })
	agenttest.Eventually(t, "no failures", func() bool { return p.Targets()[0].Failures == 0 })
}

// An agent that speaks version 1 has no connection that could end.
func TestPoolKnowsThatAVMOfVersion1Fails(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	config := soon()
	config.Protocol = client.Protocol1
	p := newPool(t, config)
	if err := say(patiently(t), p, v.Target, "hello"); err != nil {
		t.Fatal(err)
	}
	if s := states(p); s.Failing != 0 {
		t.Errorf("States = %+v, want none failing", s)
	}
	v.Boot("/no/such/agent")
	v.Cut()
	agenttest.Eventually(t, "failing", func() bool {
		_, _ = p.Get(patiently(t), v.Target)
		return states(p) == client.PoolStates{Failing: 1}
	})
	v.Boot(a.Path)
	agenttest.Eventually(t, "connected", func() bool {
		_, _ = p.Get(patiently(t), v.Target)
		return states(p) == client.PoolStates{Connected: 1}
	})
}

func TestPoolTellsThatItIsFull(t *testing.T) {
	a, b := agenttest.Start(t), agenttest.Start(t)
	var p *client.Pool
	log := &pryingLog{pool: func() *client.Pool { return p }}
	p = newPool(t, client.PoolConfig{MaxConns: 1, Logger: slog.New(log)})
	cmd, talk := talker(t, get(t, p, a.Target))
	for range 3 {
		if _, err := p.Get(patiently(t), b.Target); !errors.Is(err, client.ErrPoolFull) {
			t.Fatal(err)
		}
	}
	s := p.Stats()
	if want := "connect to " + b.Target + ": " + client.ErrPoolFull.Error(); s.Full != 3 || s.Dials != 1 || s.LastError != want {
		t.Errorf("%+v, want 3 attempts that were not made, and %q", s, want)
	}
	if w, d := log.count("WARN attempt not made"), log.count("DEBUG attempt not made"); w != 1 || d != 2 {
		t.Errorf("%d warnings and %d other records, want 1 and 2", w, d)
	}
	talk("")
	_ = cmd.Wait()
}
