//go:build linux

package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/session"
)

// An unsteady target is an agent that a pool reaches over connections which end after
// some bytes from the guest, until there were enough of them.
type unsteady struct {
	*agenttest.Agent
	cuts atomic.Int64 // how many connections will end early
	most int64        // bytes that such a connection carries, at most
	made atomic.Int64

	mu    sync.Mutex
	conns []net.Conn
}

// cut ends all connections.
func (u *unsteady) cut() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, conn := range u.conns {
		_ = conn.Close()
	}
	u.conns = nil
}

func (u *unsteady) dial(ctx context.Context, _ string) (net.Conn, error) {
	u.made.Add(1)
	in := &fault{}
	if u.cuts.Add(-1) >= 0 {
		in.at, in.strike = 1+rand.Int64N(u.most), hangUp
	}
	conn, err := dialFaulty(u.Path, in, &fault{})(ctx)
	if err == nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.conns = append(u.conns, conn)
	}
	return conn, err
}

// A notice is a Writer that tells of its first Write.
type notice struct {
	once  sync.Once
	wrote chan struct{}
}

func newNotice() *notice { return &notice{wrote: make(chan struct{})} }

func (n *notice) Write(p []byte) (int, error) {
	n.once.Do(func() { close(n.wrote) })
	return len(p), nil
}

func (u *unsteady) pool(t *testing.T) *client.Pool {
	t.Helper()
	config := soon()
	config.ProbeAfter, config.ProbeTimeout = time.Minute, time.Minute
	config.Dial = u.dial
	return newPool(t, config)
}

// stressed returns how much a test does: often in .ci/nightly stress.
func stressed(ci, nightly int) int {
	if os.Getenv("OUTLIVE_STRESS") != "" {
		return nightly
	}
	return ci
}

// numbered is the output of seq(1).
func numbered(n int) string {
	var lines strings.Builder
	for i := range n {
		fmt.Fprintln(&lines, i+1)
	}
	return lines.String()
}

func TestResumeGetsEachByteOnceInOrder(t *testing.T) {
	u := &unsteady{Agent: agenttest.Start(t), most: 60_000}
	p := u.pool(t)
	c := get(t, p, "vm")
	lines, cuts := stressed(100_000, 1_000_000), stressed(20, 200)
	u.cuts.Store(int64(cuts))
	cmd := c.CommandContext(patiently(t), "sh", "-c", fmt.Sprintf("seq %d; seq 1000 >&2; exit 7", lines))
	cmd.Outlive = client.Outlive{Resume: true, Ring: 64 << 10}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	u.cut() // the first connection, too
	wantExit(t, cmd.Run(), 7)
	if want := numbered(lines); stdout.String() != want {
		t.Errorf("stdout has %d bytes, want the %d bytes of seq", stdout.Len(), len(want))
	}
	if want := numbered(1000); stderr.String() != want {
		t.Errorf("stderr has %d bytes, want the %d bytes of seq", stderr.Len(), len(want))
	}
	if made := int(u.made.Load()); made < cuts/2+2 {
		t.Errorf("%d connections were made, want one for each of more than %d cuts", made, cuts/2)
	}
	agenttest.Eventually(t, "the release of the record", func() bool {
		list, err := get(t, p, "vm").Execs(patiently(t))
		return err == nil && len(list.Execs) == 0 && len(list.Ended) == 0
	})
}

// The command that a resuming caller ends while its connection is lost is ended.
func TestResumeEndsCommandAfterLostConnection(t *testing.T) {
	u := &unsteady{Agent: agenttest.Start(t), most: 60_000}
	c := get(t, u.pool(t), "vm")
	ctx, cancel := context.WithCancel(patiently(t))
	cmd := c.CommandContext(ctx, "sh", "-c", "echo x; sleep 1000")
	cmd.Outlive.Resume = true
	out := newNotice()
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-out.wrote
	u.cut()
	cancel()
	exit := wantExit(t, cmd.Wait(), 128+15)
	if exit.Reason() != client.ReasonKilled || !errors.Is(exit, context.Canceled) {
		t.Errorf("Wait = %v with reason %s, want killed by the context", exit, exit.Reason())
	}
}

// Starts whose answers are lost, or not, start once each.
func TestKeyedStartHappensOnce(t *testing.T) {
	u := &unsteady{Agent: agenttest.Start(t), most: 600}
	p := u.pool(t)
	dir := t.TempDir()
	times, repeated := stressed(300, 1000), 0
	for i := range times {
		u.cuts.Store(int64(rand.IntN(3)))
		path := filepath.Join(dir, fmt.Sprint(i))
		c, err := p.Get(patiently(t), "vm")
		if err != nil {
			continue // the cut was before the greeting
		}
		cmd := c.CommandContext(patiently(t), "sh", "-c", `echo started >>"$0"; read x`, path)
		cmd.Outlive = client.Outlive{Key: fmt.Sprint("key", i), Detach: true}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		err = cmd.Start()
		u.cuts.Store(0)
		if err != nil {
			t.Fatalf("start %d: %v", i, err)
		}
		if cmd.Repeated() {
			repeated++
		}
		_ = in.Close()
		var lost *client.LostExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &lost) {
			if _, exit := errors.AsType[*client.ExitError](err); !exit {
				t.Fatalf("wait %d: %v\n%s", i, err, u.Log)
			}
		}
		agenttest.Eventually(t, "the start", func() bool { text, _ := os.ReadFile(path); return len(text) > 0 })
		if text, err := os.ReadFile(path); err != nil || string(text) != "started\n" {
			t.Fatalf("command %d has started as %q says, %v, want once", i, text, err)
		}
		u.cut()
	}
	if repeated == 0 {
		t.Errorf("none of %d starts was repeated: the cuts missed", times)
	}
	t.Logf("%d of %d starts were repeated", repeated, times)
}

// The agent is short of memory, and its rings stay smaller than they were asked for.
func TestResumeWithLittleRingMemory(t *testing.T) {
	u := &unsteady{Agent: agenttest.StartWith(t, func(c *session.Config) {
		c.Quotas.Keeping = job.Quotas{Rings: 16 << 10}
	}), most: 60_000}
	c := get(t, u.pool(t), "vm")
	cmd := c.CommandContext(patiently(t), "seq", "100000")
	cmd.Outlive.Resume = true
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil || out.String() != numbered(100_000) {
		t.Errorf("Run() = %v with %d bytes, want those of seq", err, out.Len())
	}
}

// A gate is a Writer that waits before its first Write.
type gate struct {
	bytes.Buffer
	once           sync.Once
	reached, opens chan struct{}
}

func (g *gate) Write(p []byte) (int, error) {
	g.once.Do(func() {
		close(g.reached)
		<-g.opens
	})
	return g.Buffer.Write(p)
}

// The ring is full when the connection is lost, and nothing was acknowledged.
func TestResumeAcknowledgesAfterLostConnection(t *testing.T) {
	u := &unsteady{Agent: agenttest.Start(t), most: 60_000}
	c := get(t, u.pool(t), "vm")
	cmd := c.CommandContext(patiently(t), "seq", "100000")
	cmd.Outlive = client.Outlive{Resume: true, Ring: 16 << 10}
	g := &gate{reached: make(chan struct{}), opens: make(chan struct{})}
	cmd.Stdout = g
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-g.reached
	other := connect(t, u.Target)
	agenttest.Eventually(t, "a full ring", func() bool {
		list, err := other.Execs(t.Context())
		return err == nil && list.Execs[0].StdoutBytes == 16<<10
	})
	u.cut()
	close(g.opens)
	if err := cmd.Wait(); err != nil || g.String() != numbered(100_000) {
		t.Errorf("Wait() = %v with %d bytes, want those of seq", err, g.Len())
	}
}

func TestResumeEndsCommandWhoseWriterFails(t *testing.T) {
	u := &unsteady{Agent: agenttest.Start(t), most: 60_000}
	c := get(t, u.pool(t), "vm")
	cmd := c.CommandContext(patiently(t), "yes")
	cmd.Outlive.Resume = true
	cmd.Stdout, cmd.MaxOutput, cmd.WaitDelay = newNotice(), 200_000, time.Hour
	_, limited := errors.AsType[*client.OutputLimitError](cmd.Run())
	if !limited || cmd.ProcessState == nil {
		t.Errorf("Run() with state %v, want an OutputLimitError and how the command ended", cmd.ProcessState)
	}
}

// The screen is restored once: what follows a lost connection goes on at its offset.
func TestAttachResumesAfterRedraw(t *testing.T) {
	u := &unsteady{Agent: agenttest.Start(t), most: 60_000}
	c := get(t, u.pool(t), "vm")
	cmd := c.CommandContext(patiently(t), "sh", "-c", "stty -opost -echo; echo begun; while read x; do echo got $x; done")
	cmd.Outlive.Detach, cmd.TTY = true, &client.TTY{}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	again := c.Attach(patiently(t), cmd.Handle())
	again.Redraw, again.Outlive.Resume = client.RedrawReplay, true
	out := &lockedBuffer{}
	again.Stdout = out
	agenttest.Eventually(t, "the first line", func() bool {
		list, err := c.Execs(t.Context())
		return err == nil && list.Execs[0].StdoutBytes == 6
	})
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	typist := connect(t, u.Target).Attach(patiently(t), cmd.Handle())
	keys, err := typist.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := typist.Start(); err != nil {
		t.Fatal(err)
	}
	want := "begun\n"
	for i := range 4 {
		_, _ = fmt.Fprintf(keys, "%d\n", i)
		want += fmt.Sprintf("got %d\n", i)
		agenttest.Eventually(t, "the answer", func() bool { return strings.HasSuffix(out.String(), want[len(want)-6:]) })
		u.cut()
	}
	_ = keys.Close()
	if err := again.Wait(); err != nil || out.String() != want {
		t.Errorf("Wait() = %v with %q, want %q", err, out.String(), want)
	}
}
