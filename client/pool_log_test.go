//go:build linux

package client_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A pryingLog keeps what it is told. For each record it asks the pool for its statistics,
// which waits for as long as the pool's lock is held.
type pryingLog struct {
	slog.Handler
	pool func() *client.Pool

	mu      sync.Mutex
	records []string
}

func (*pryingLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *pryingLog) WithAttrs([]slog.Attr) slog.Handler     { return l }

func (l *pryingLog) Handle(_ context.Context, r slog.Record) error {
	_, _ = l.pool().Stats(), l.pool().Targets()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, r.Level.String()+" "+r.Message)
	return nil
}

func (l *pryingLog) has(record string) bool { return l.count(record) > 0 }

func (l *pryingLog) count(record string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, r := range l.records {
		if r == record {
			n++
		}
	}
	return n
}

func TestPoolTellsItsLogger(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	var p *client.Pool
	log := &pryingLog{pool: func() *client.Pool { return p }}
	config := soon()
	config.Logger = slog.New(log)
	p = newPool(t, config)
	cmd, talk := talker(t, get(t, p, v.Target))
	expect := func(record string) {
		t.Helper()
		agenttest.Eventually(t, record, func() bool { return log.has(record) })
	}
	expect("DEBUG connected")
	v.Pause()
	expect("WARN agent does not answer: its VM may be paused, or the connection dead")
	v.Resume()
	expect("INFO agent answers again")
	talk("")
	_ = cmd.Wait()

	c := get(t, p, v.Target)
	v.Cut()
	expect("INFO connection ended")
	if err := c.Command("true").Run(); err != nil {
		t.Error(err)
	}
	expect("INFO tried again over another connection")

	v.Boot("/no/such/agent")
	v.Cut()
	for range 3 {
		agenttest.Eventually(t, "failure", func() bool {
			_, err := p.Get(patiently(t), v.Target)
			return err != nil
		})
	}
	agenttest.Eventually(t, "two failures", func() bool { return log.count("DEBUG attempt failed") >= 2 })
	if n := log.count("WARN attempt failed"); n != 1 {
		t.Errorf("%d warnings for one row of failures: %q", n, log.records)
	}
	v.Boot(a.Path)
	agenttest.Eventually(t, "a connection", func() bool {
		_, err := p.Get(patiently(t), v.Target)
		return err == nil
	})
	p.Forget(v.Target)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestPoolTellsItsLoggerOfAnotherAgent(t *testing.T) {
	var p *client.Pool
	log := &pryingLog{pool: func() *client.Pool { return p }}
	p, _ = fakePool(t, client.PoolConfig{Logger: slog.New(log)}, func(dial int, g *guest) {
		if dial == 1 {
			g.offend(greeting("first boot", "agent-of-16-byte"))
			_ = g.mux.Close()
			return
		}
		g.serve(greeting("second boot", "agent-of-16-byte"))
	})
	c := get(t, p, "the VM")
	<-c.Done()
	if err := c.CommandContext(patiently(t), "true").Run(); !errors.Is(err, client.ErrAnotherAgent) {
		t.Fatalf("error %v, want one of another agent", err)
	}
	if !log.has("WARN nothing was tried again") {
		t.Errorf("the log is %q, want %q", log.records, "WARN nothing was tried again")
	}
}

func TestPoolLogsWhyACommandIsRetried(t *testing.T) {
	var text lockedBuffer
	p, _ := fakePool(t, client.PoolConfig{Logger: slog.New(slog.NewTextHandler(&text, nil))}, func(dial int, g *guest) {
		if dial == 1 {
			g.refuse(greeting("boot", "agent-of-16-byte"), wire.ShuttingDown)
			return
		}
		g.serve(greeting("boot", "agent-of-16-byte"))
	})
	if err := get(t, p, "the VM").CommandContext(patiently(t), "true").Run(); err != nil {
		t.Fatal(err)
	}
	if want := `msg="tried again over another connection" target="the VM" because="the agent is shutting down"`; !strings.Contains(text.String(), want) {
		t.Errorf("%q\nwant %q", text.String(), want)
	}
}

// A lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
