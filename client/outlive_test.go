//go:build linux

package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

func TestAttachGetsOutputAndExitOfDetachedCommand(t *testing.T) {
	c, a := dial(t)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := c.CommandContext(ctx, "sh", "-c", "echo one; read line; echo $line; echo error >&2; exit 3")
	cmd.Outlive.Detach = true
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := newNotice()
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-out.wrote
	cancel()
	if err := cmd.Wait(); !errors.Is(err, client.ErrDetached) || !errors.Is(err, context.Canceled) {
		t.Fatalf("Wait after the context has ended = %v, want ErrDetached", err)
	}
	_ = in.Close() // too late
	if stdout, stderr := cmd.Offsets(); stdout != 4 || stderr != 0 {
		t.Errorf("Offsets() = %d, %d, want 4, 0", stdout, stderr)
	}

	other := connect(t, a.Target)
	list, err := other.Execs(t.Context())
	if err != nil || len(list.Execs) != 1 || !list.Execs[0].Detached || list.Execs[0].StdoutBytes != 4 || !bytes.Equal(list.Execs[0].Handle, cmd.Handle()) {
		t.Fatalf("Execs() = %+v, %v, want the detached one", list, err)
	}
	again := other.Attach(t.Context(), cmd.Handle())
	var stdout, stderr bytes.Buffer
	again.From.Stdout = 4
	again.Stdin, again.Stdout, again.Stderr = strings.NewReader("two\n"), &stdout, &stderr
	exit := wantExit(t, again.Run(), 3)
	if stdout.String() != "two\n" || stderr.String() != "error\n" || exit.StdoutBytes() != 8 {
		t.Errorf("stdout %q, stderr %q, %d bytes in all", stdout.String(), stderr.String(), exit.StdoutBytes())
	}

	both := connect(t, a.Target).Attach(t.Context(), cmd.Handle())
	var all bytes.Buffer
	both.Stdout, both.Stderr = &all, &all
	wantExit(t, both.Run(), 3)
	if text := all.String(); len(text) != 14 || !strings.Contains(text, "one\ntwo\n") {
		t.Errorf("both outputs = %q", text)
	}
	if err := other.ReleaseExec(t.Context(), cmd.Handle()); err != nil {
		t.Fatal(err)
	}
	wantKind(t, other.Attach(t.Context(), cmd.Handle()).Run(), client.NotFound)
	wantKind(t, other.ReleaseExec(t.Context(), cmd.Handle()), client.NotFound)
}

func TestAttachTellsOfOutputThatIsNotKept(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("head", "-c", "100000", "/dev/zero")
	cmd.Outlive = client.Outlive{Detach: true, Ring: 4096}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	again := c.Attach(t.Context(), cmd.Handle())
	again.Stdout = io.Discard
	again.From.Stdout = 10
	err := again.Run()
	behind, ok := errors.AsType[*client.BehindError](err)
	if want := (client.BehindError{Stream: "stdout", Want: 10, Oldest: 100000 - 4096, Newest: 100000}); !ok || *behind != want {
		t.Fatalf("Run() = %v, want %v", err, &want)
	}
	again = c.Attach(t.Context(), cmd.Handle())
	var rest bytes.Buffer
	again.Stdout = &rest
	again.From.Oldest = true
	if err := again.Run(); err != nil || rest.Len() != 4096 {
		t.Errorf("Run() = %v with %d bytes, want the 4096 that are kept", err, rest.Len())
	}
}

func TestOutliveIsChecked(t *testing.T) {
	c, _ := dial(t)
	for _, check := range []struct {
		want string
		set  func(*client.Cmd)
	}{
		{"a key of 65 bytes", func(c *client.Cmd) { c.Outlive.Key = strings.Repeat("k", 65) }},
		{"a ring of -1 bytes", func(c *client.Cmd) { c.Outlive.Ring, c.Outlive.Detach = -1, true }},
		{"a ring of 16777217 bytes", func(c *client.Cmd) { c.Outlive.Ring, c.Outlive.Detach = 16<<20+1, true }},
		{"Ring without Detach", func(c *client.Cmd) { c.Outlive.Ring = 1 }},
		{"Resume with Stdin", func(c *client.Cmd) { c.Outlive.Resume, c.Stdin = true, strings.NewReader("") }},
		{"Resume with TTY", func(c *client.Cmd) { c.Outlive.Resume, c.TTY = true, &client.TTY{} }},
		{"Resume with StdoutPipe", func(c *client.Cmd) { c.Outlive.Resume = true; _, _ = c.StdoutPipe() }},
		{"From and Redraw are for", func(c *client.Cmd) { c.From.Oldest = true }},
	} {
		cmd := c.Command("true")
		check.set(cmd)
		if err := cmd.Start(); err == nil || !strings.Contains(err.Error(), check.want) {
			t.Errorf("Start() = %v, want an error with %q", err, check.want)
		}
	}
	for _, check := range []struct {
		want string
		set  func(*client.Cmd)
	}{
		{"for the start of a command", func(c *client.Cmd) { c.Dir = "/" }},
		{"for the start of a command", func(c *client.Cmd) { c.TTY = &client.TTY{} }},
		{"Attach with Key, Detach or Ring", func(c *client.Cmd) { c.Outlive.Detach = true }},
		{"both Oldest and Now", func(c *client.Cmd) { c.From = client.Position{Oldest: true, Now: true} }},
		{"one pipe for both", func(c *client.Cmd) { _, _ = c.StdoutPipe(); c.Stderr = c.Stdout }},
	} {
		cmd := c.Attach(t.Context(), make([]byte, 16))
		check.set(cmd)
		if err := cmd.Start(); err == nil || !strings.Contains(err.Error(), check.want) {
			t.Errorf("Start() of Attach = %v, want an error with %q", err, check.want)
		}
	}
	if err := c.Attach(t.Context(), nil).Start(); err == nil || !strings.Contains(err.Error(), "a handle of 0 bytes") {
		t.Errorf("Start() of Attach without a handle = %v", err)
	}
}

func TestLogsCopyWhatIsKept(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("sh", "-c", "echo first; echo problem >&2; read line; echo $line; exit 5")
	cmd.Outlive.Detach = true
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		wantExit(t, cmd.Wait(), 5)
	}()
	agenttest.Eventually(t, "both outputs", func() bool {
		list, err := c.Execs(t.Context())
		return err == nil && list.Execs[0].StdoutBytes == 6 && list.Execs[0].StderrBytes == 8
	})
	for _, l := range []struct {
		o              client.LogOptions
		stdout, stderr string
	}{
		{stdout: "first\n", stderr: "problem\n"},
		{o: client.LogOptions{From: client.Position{Oldest: true}}, stdout: "first\n", stderr: "problem\n"},
		{o: client.LogOptions{From: client.Position{Stdout: 3, Stderr: 100}}, stdout: "st\n"},
		{o: client.LogOptions{From: client.Position{Now: true}}},
	} {
		var stdout, stderr bytes.Buffer
		if err := c.Logs(patiently(t), cmd.Handle(), &stdout, &stderr, l.o); err != nil || stdout.String() != l.stdout || stderr.String() != l.stderr {
			t.Errorf("Logs(%+v) = %v with %q and %q, want %q and %q", l.o, err, stdout.String(), stderr.String(), l.stdout, l.stderr)
		}
	}
	var both bytes.Buffer
	followed := make(chan error, 1)
	go func() { followed <- c.Logs(patiently(t), cmd.Handle(), &both, &both, client.LogOptions{Follow: true}) }()
	_, _ = io.WriteString(in, "last\n")
	if err := <-followed; err != nil || both.Len() != 19 || !strings.Contains(both.String(), "first\nlast\n") && !strings.Contains(both.String(), "problem\nlast\n") {
		t.Errorf("Logs with Follow = %v with %q", err, both.String())
	}
	wantKind(t, c.Logs(patiently(t), make([]byte, 16), &both, &both, client.LogOptions{}), client.NotFound)
}

func TestLogsTellOfLostOutput(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("seq", "100000")
	cmd.Outlive = client.Outlive{Detach: true, Ring: 8 << 10}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var lost uint64
	err := c.Logs(patiently(t), cmd.Handle(), &out, nil, client.LogOptions{Lost: func(stream string, from, to uint64) {
		if stream != "stdout" || from != lost {
			t.Errorf("Lost(%q, %d, %d) after %d", stream, from, to, lost)
		}
		lost = to
	}})
	if want := numbered(100_000); err != nil || out.String() != want[lost:] || lost == 0 {
		t.Errorf("Logs = %v with %d bytes after %d that are lost, want the end of %d", err, out.Len(), lost, len(want))
	}
	if err := c.Logs(patiently(t), cmd.Handle(), &out, nil, client.LogOptions{}); err == nil {
		t.Error("Logs without Lost = nil, want a BehindError")
	}
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
	out := &syncBuffer{}
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

// A syncBuffer is a bytes.Buffer for two goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
