//go:build linux

package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// soon makes what takes seconds in production take milliseconds.
func soon() client.PoolConfig {
	return client.PoolConfig{
		MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond,
		ProbeAfter: time.Millisecond, ProbeTimeout: 50 * time.Millisecond,
	}
}

func newPool(tb testing.TB, config client.PoolConfig) *client.Pool {
	tb.Helper()
	p := client.NewPool(config)
	tb.Cleanup(func() { _ = p.Close() })
	return p
}

func get(tb testing.TB, p *client.Pool, target string) *client.Client {
	tb.Helper()
	c, err := p.Get(patiently(tb), target)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// say runs echo through the pool.
func say(ctx context.Context, p *client.Pool, target, word string) error {
	c, err := p.Get(ctx, target)
	if err != nil {
		return err
	}
	out, err := c.CommandContext(ctx, "echo", word).Output()
	if err == nil && string(out) != word+"\n" {
		err = fmt.Errorf("echo %s: %q", word, out)
	}
	return err
}

// talker starts a command that answers each line, and exits with 7 at the end.
func talker(tb testing.TB, c *client.Client) (cmd *client.Cmd, talk func(word string)) {
	tb.Helper()
	cmd = c.Command("sh", "-c", `while read word; do echo "$word"; done; exit 7`)
	stdin, _ := cmd.StdinPipe()
	stdout, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	return cmd, func(word string) {
		tb.Helper()
		if word == "" {
			_ = stdin.Close()
			_, _ = io.Copy(io.Discard, lines)
			return
		}
		if _, err := fmt.Fprintln(stdin, word); err != nil {
			tb.Error(err)
		}
		if got, err := lines.ReadString('\n'); err != nil || got != word+"\n" {
			tb.Errorf("said %q, heard %q, %v", word, got, err)
		}
	}
}

func TestPoolSharesOneConnectionPerTarget(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	p := newPool(t, client.PoolConfig{})
	var all sync.WaitGroup
	for i := range 100 {
		target := v.target
		if i%2 == 0 {
			target = strings.TrimSuffix(target, ":1024") // another spelling of it
		}
		all.Go(func() {
			if err := say(patiently(t), p, target, fmt.Sprint("word", i)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := v.connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	if s := p.Stats(); s.Targets != 1 || s.Conns != 1 || s.InUse != 0 || s.Dials != 1 || s.DialErrors != 0 {
		t.Errorf("%+v", s)
	}
}

func TestPoolsAttemptOutlivesTheCallerWhoBeganIt(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	p := newPool(t, client.PoolConfig{})
	v.pause()
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, err := p.Get(ctx, v.target)
		first <- err
	}()
	eventually(t, "an attempt", func() bool { return v.connections() == 1 })
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	v.resume()
	get(t, p, v.target)
	if n := v.connections(); n != 1 {
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
			t.Errorf("%s: %v", target, err)
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
		t.Errorf("%+v", s)
	}
}

func TestPoolTriesAgainAfterAFailure(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, "/no/such/agent")
	p := newPool(t, soon())
	for range 3 {
		if _, err := p.Get(patiently(t), v.target); err == nil || !strings.Contains(err.Error(), "the VMM closed the connection") {
			t.Fatal(err)
		}
	}
	v.boot(a.Path)
	if err := say(patiently(t), p, v.target, "there"); err != nil {
		t.Error(err)
	}
}

func TestPoolsDeadVMDelaysNobodyElse(t *testing.T) {
	a := agenttest.Start(t)
	dead, well := startVMM(t, a.Path), startVMM(t, a.Path)
	dead.pause()
	p := newPool(t, client.PoolConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range 100 {
		waiting.Go(func() {
			if _, err := p.Get(ctx, dead.target); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	eventually(t, "an attempt", func() bool { return dead.connections() == 1 })
	for range 10 {
		if err := say(patiently(t), p, well.target, "hello"); err != nil {
			t.Error(err)
		}
	}
	cancel()
	waiting.Wait()
}

func TestPoolGivesUpAVMThatDoesNotAnswer(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	v.pause()
	config := soon()
	config.DialTimeout = 20 * time.Millisecond
	p := newPool(t, config)
	_, err := p.Get(patiently(t), v.target)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer within 20ms") {
		t.Error(err)
	}
}

// A paused VM is not dead, and goes on where it was.
func TestPoolKeepsTheConnectionToAPausedVM(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	config := soon()
	config.DialTimeout = 20 * time.Millisecond
	p := newPool(t, config)
	var c *client.Client
	eventually(t, "a connection", func() bool { // 20 ms may be too few on a busy machine
		var err error
		c, err = p.Get(patiently(t), v.target)
		return err == nil
	})
	cmd, talk := talker(t, c)
	talk("before")
	v.pause()
	eventually(t, "the silence is noticed", func() bool { return p.Stats().ProbeTimeouts > 0 })
	for range 3 {
		if _, err := p.Get(patiently(t), v.target); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	}
	v.resume()
	eventually(t, "a connection again", func() bool {
		_, err := p.Get(patiently(t), v.target)
		return err == nil
	})
	talk("after")
	talk("")
	wantExit(t, cmd.Wait(), 7)
	if s := p.Stats(); s.Stale != 0 || s.ProbeTimeouts == 0 {
		t.Errorf("%+v", s)
	}
}

// After a restore a connection may look alive that leads nowhere.
func TestPoolFindsOutAConnectionThatOnlyLooksAlive(t *testing.T) {
	for _, how := range []string{"when it is asked for", "by itself, under a command"} {
		t.Run(how, func(t *testing.T) {
			a := agenttest.Start(t)
			v := startVMM(t, a.Path)
			p := newPool(t, soon())
			old := get(t, p, v.target)
			cmd, talk := talker(t, old)
			talk("before")
			v.restore()
			if how == "when it is asked for" {
				eventually(t, "silence", func() bool { return get(t, p, v.target) != old })
			}
			err := cmd.Wait()
			lost, ok := errors.AsType[*client.LostExitError](err)
			if !ok || !errors.Is(err, client.ErrLost) || !strings.Contains(err.Error(), "has the VM been restored?") {
				t.Fatalf("error %v (%T)", err, err)
			}
			if lost.PID != cmd.PID() {
				t.Errorf("process %d, started as %d", lost.PID, cmd.PID())
			}
			if err := say(patiently(t), p, v.target, "again"); err != nil {
				t.Error(err)
			}
			if s := p.Stats(); s.Stale != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// late is a pool whose connection to a VM that has been paused has been replaced
// by one to a guest that greets, and answers pings once it is awake.
func late(t *testing.T) (*client.Pool, *vmm, *client.Cmd, func(string), chan struct{}) {
	t.Helper()
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	awake := make(chan struct{})
	first := true
	config := soon()
	config.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
		if first {
			first = false
			vm, err := client.ParseTarget(v.target)
			if err != nil {
				return nil, err
			}
			return vm.Dial(ctx)
		}
		near, far := socketpair(t)
		go func() { // ends with the connection
			if g, err := newGuest(t, far); err == nil {
				g.offend(&wire.Hello{Min: 2, Max: 2})
				g.answer(awake)
			}
		}()
		return near, nil
	}
	p := newPool(t, config)
	cmd, talk := talker(t, get(t, p, "the VM"))
	v.pause()
	eventually(t, "another connection", func() bool { return p.Stats().Conns > 1 })
	return p, v, cmd, talk, awake
}

// answer answers the pings that come, once it is awake, but no other request.
func (g *guest) answer(awake <-chan struct{}) {
	for {
		m, err := wire.Read(g.in)
		if err != nil {
			return // its end
		}
		select {
		case <-awake:
		case <-g.mux.Done():
			return
		}
		if ping, ok := m.(*wire.Ping); ok {
			g.offend(&wire.Done{Head: wire.Head{ID: ping.ID}})
		}
	}
}

// A VM may be paused for just so long that its old connection is late.
func TestPoolLetsCommandsEndOnAConnectionThatWasLate(t *testing.T) {
	p, v, cmd, talk, awake := late(t)
	v.resume()
	talk("late")
	close(awake)
	talk("still there")
	talk("")
	wantExit(t, cmd.Wait(), 7)
	eventually(t, "the old one, which nobody uses, is closed", func() bool { return p.Stats().Conns == 1 })
	if s := p.Stats(); s.Stale != 0 {
		t.Errorf("%+v", s)
	}
}

// A VM may go on for just so long that it answers a new connection.
func TestPoolDoesNotJudgeAConnectionByOneThatIsPausedToo(t *testing.T) {
	p, v, cmd, talk, _ := late(t)
	// The newer one is silent too, and so replaced, after the first judgement.
	eventually(t, "yet another connection", func() bool { return p.Stats().Dials >= 4 })
	v.resume()
	talk("late")
	talk("")
	wantExit(t, cmd.Wait(), 7)
	if s := p.Stats(); s.Stale != 0 {
		t.Errorf("%+v", s)
	}
}

// A connection that has been replaced, and is kept for its commands, may die later.
func TestPoolFindsOutThatAConnectionIsDeadThatItHasReplaced(t *testing.T) {
	p, v, cmd, talk, awake := late(t)
	v.resume()
	talk("late")
	v.restore()
	close(awake)
	err := cmd.Wait()
	if _, ok := errors.AsType[*client.LostExitError](err); !ok || !strings.Contains(err.Error(), "has the VM been restored?") {
		t.Errorf("error %v (%T)", err, err)
	}
	eventually(t, "it is counted", func() bool { s := p.Stats(); return s.Stale == 1 && s.Conns == 1 })
}

func TestPoolProbesASilentConnectionBeforeItIsUsedAgain(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	config := soon()
	config.ProbeTimeout = agenttest.Patience
	p := newPool(t, config)
	c := get(t, p, v.target)
	eventually(t, "a probe", func() bool { return get(t, p, v.target) == c && p.Stats().Probes > 0 })
	if s := p.Stats(); s.Dials != 1 || s.ProbeTimeouts != 0 || v.connections() != 1 {
		t.Errorf("%+v", s)
	}
}

// Connections come and go under commands that are just being started.
func TestPoolClosesNoConnectionOverWhichACommandIsBeingStarted(t *testing.T) {
	a := agenttest.Start(t)
	p := newPool(t, client.PoolConfig{MaxConns: 2, Dial: func(ctx context.Context, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", a.Path)
	}})
	var all sync.WaitGroup
	var ran, full atomic.Int64
	for i := range 3 {
		all.Go(func() {
			ctx := patiently(t)
			for n := 0; n < 60; {
				err := say(ctx, p, fmt.Sprint("VM ", i), "hello")
				switch {
				case err == nil:
					ran.Add(1)
					n++
				case errors.Is(err, client.ErrPoolFull):
					full.Add(1)
					runtime.Gosched()
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	s := p.Stats()
	if s.Evicted == 0 || s.Conns > 2 || s.InUse != 0 || s.Dialing != 0 {
		t.Errorf("%d ran; %+v", ran.Load(), s)
	}
	if s.Dials-s.DialErrors != s.Evicted+uint64(s.Conns) {
		t.Errorf("connections that are unaccounted for: %+v", s)
	}
	t.Logf("%d ran, %d found the pool full; %+v", ran.Load(), full.Load(), s)
}

func TestPoolNeverHasMoreConnectionsThanItsLimit(t *testing.T) {
	a := agenttest.Start(t)
	p := newPool(t, client.PoolConfig{MaxConns: 3, Dial: func(ctx context.Context, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", a.Path)
	}})
	var all, held sync.WaitGroup
	held.Add(1)
	var got, full atomic.Int64
	for i := range 50 {
		all.Go(func() {
			c, err := p.Get(patiently(t), fmt.Sprint("VM ", i))
			if err != nil {
				if !errors.Is(err, client.ErrPoolFull) {
					t.Error(err)
				}
				full.Add(1)
				return
			}
			cmd := c.Command("cat")
			stdin, _ := cmd.StdinPipe()
			if err := cmd.Start(); err != nil {
				if !errors.Is(err, client.ErrPoolFull) {
					t.Error(err)
				}
				full.Add(1)
				return
			}
			got.Add(1)
			held.Wait()
			_ = stdin.Close()
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "all have an answer", func() bool { return got.Load()+full.Load() == 50 })
	if s := p.Stats(); got.Load() != 3 || s.Conns != 3 || s.InUse != 3 {
		t.Errorf("%d commands run; %+v", got.Load(), s)
	}
	held.Done()
	all.Wait()
}

func TestPoolGetRacingCloseEndsOneWayOrTheOther(t *testing.T) {
	a := agenttest.Start(t)
	for range 20 {
		p := client.NewPool(client.PoolConfig{IdleTimeout: time.Millisecond, Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", a.Path)
		}})
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				for {
					err := say(patiently(t), p, fmt.Sprint("VM ", i%5), "hello")
					if errors.Is(err, client.ErrPoolClosed) {
						return
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		eventually(t, "it is busy", func() bool { return p.Stats().Conns >= 3 })
		_ = p.Close()
		if s := p.Stats(); s.Conns != 0 || s.Dialing != 0 {
			t.Errorf("%+v", s)
		}
		all.Wait()
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
	const want = "connect to unix:///no/such/agent: context canceled; the attempt before had failed: connect: no such file or directory"
	if !errors.Is(err, context.Canceled) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestPoolRemembersABackOffThatIsLongerThanItsIdleTimeout(t *testing.T) {
	config := soon()
	config.MinBackoff, config.IdleTimeout = time.Hour, time.Millisecond
	a := agenttest.Start(t)
	p := newPool(t, config)
	_, _ = p.Get(patiently(t), "unix:///no/such/agent")
	<-get(t, p, a.Target).Done() // closed as idle
	eventually(t, "the other target is forgotten", func() bool { return p.Stats().Targets < 2 })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := p.Get(ctx, "unix:///no/such/agent"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if s := p.Stats(); s.Targets != 1 || s.Dials != 2 {
		t.Errorf("%+v", s)
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

func TestPoolReplacesAConnectionThatHasEnded(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	p := newPool(t, client.PoolConfig{})
	for range 5 {
		old := get(t, p, v.target)
		v.cut()
		<-old.Done()
		if err := say(patiently(t), p, v.target, "again"); err != nil {
			t.Error(err)
		}
	}
}

func TestPoolStartsACommandOverAnotherConnectionIfItCertainlyHasNotStarted(t *testing.T) {
	t.Run("the connection has ended", func(t *testing.T) {
		a := agenttest.Start(t)
		v := startVMM(t, a.Path)
		p := newPool(t, client.PoolConfig{})
		c := get(t, p, v.target)
		v.cut()
		<-c.Done()
		cmd := c.Command("echo", "there")
		if out, err := cmd.Output(); err != nil || string(out) != "there\n" {
			t.Errorf("%q, %v", out, err)
		}
		if s := p.Stats(); s.Retries != 1 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("the agent is shutting down", func(t *testing.T) {
		a, b := agenttest.Start(t), agenttest.Start(t)
		v := startVMM(t, a.Path)
		p := newPool(t, client.PoolConfig{})
		c := get(t, p, v.target)
		stubborn := c.Command("sh", "-c", `trap "echo told" TERM; echo ready; while :; do sleep 0.01; done`)
		stdout, _ := stubborn.StdoutPipe()
		if err := stubborn.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(stdout)
		_, _ = lines.ReadString('\n')
		v.boot(b.Path)
		down := make(chan struct{})
		go func() { defer close(down); a.Shutdown(t) }()
		_, _ = lines.ReadString('\n')
		if err := say(patiently(t), p, v.target, "there"); err != nil {
			t.Error(err)
		}
		if s := p.Stats(); s.Retries != 1 || s.Conns != 2 {
			t.Errorf("%+v", s)
		}
		_, _ = io.Copy(io.Discard, lines)
		if exit := wantExit(t, stubborn.Wait(), 137); exit.Reason() != "shutdown" {
			t.Error(exit)
		}
		<-down
	})
	t.Run("and there is no other", func(t *testing.T) {
		a := agenttest.Start(t)
		v := startVMM(t, a.Path)
		p := newPool(t, client.PoolConfig{})
		c := get(t, p, v.target)
		v.boot("/no/such/agent")
		v.cut()
		<-c.Done()
		err := c.Command("true").Run()
		if !errors.Is(err, client.ErrLost) || !strings.Contains(err.Error(), "nothing listens on that port") {
			t.Error(err)
		}
	})
}

func TestPoolNeverStartsACommandAgainThatMayHaveStarted(t *testing.T) {
	a := agenttest.Start(t)
	file := filepath.Join(t.TempDir(), "runs")
	ran := func() bool { _, err := os.Stat(file); return err == nil }
	p := newPool(t, client.PoolConfig{Dial: func(ctx context.Context, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", a.Path)
		return &deafened{Conn: conn, by: "exec-here", until: func() { eventually(t, "the command runs", ran) }}, err
	}})
	err := get(t, p, "the VM").Command("sh", "-c", `echo ran >>"$1"`, "exec-here", file).Run()
	if _, ok := errors.AsType[*client.MaybeStartedError](err); !ok {
		t.Errorf("error %v (%T)", err, err)
	}
	a.Shutdown(t)
	if runs, _ := os.ReadFile(file); string(runs) != "ran\n" {
		t.Errorf("%q", runs)
	}
	if s := p.Stats(); s.Retries != 0 || s.Dials != 1 {
		t.Errorf("%+v", s)
	}
}

// A deafened connection hears nothing once it has said something, and ends.
type deafened struct {
	net.Conn
	by    string
	deaf  atomic.Bool
	until func() // when it ends
}

func (d *deafened) Write(b []byte) (int, error) {
	if strings.Contains(string(b), d.by) {
		d.deaf.Store(true)
	}
	return d.Conn.Write(b)
}

func (d *deafened) Read(b []byte) (int, error) {
	n, err := d.Conn.Read(b)
	if d.deaf.Load() {
		d.until()
		return 0, io.EOF
	}
	return n, err
}

func TestPoolClosesWhatIsIdleAndKeepsWhatIsNot(t *testing.T) {
	a := agenttest.Start(t)
	idle, busy := startVMM(t, a.Path), startVMM(t, a.Path)
	config := client.PoolConfig{IdleTimeout: 20 * time.Millisecond}
	p := newPool(t, config)
	cmd, talk := talker(t, get(t, p, busy.target))
	c := get(t, p, idle.target)
	<-c.Done()
	eventually(t, "the idle one's target is forgotten", func() bool { return p.Stats().Targets == 1 })
	talk("still here")
	if s := p.Stats(); s.Conns != 1 || s.InUse != 1 || s.Evicted != 1 {
		t.Errorf("%+v", s)
	}
	talk("")
	wantExit(t, cmd.Wait(), 7)
	eventually(t, "all are closed", func() bool { s := p.Stats(); return s.Conns == 0 && s.Targets == 0 })
	if out, err := c.Command("echo", "there").Output(); err != nil || string(out) != "there\n" {
		t.Errorf("a Client that was kept for too long: %q, %v", out, err)
	}
}

func TestPoolKeepsToItsLimit(t *testing.T) {
	a := agenttest.Start(t)
	first, second, third := startVMM(t, a.Path), startVMM(t, a.Path), startVMM(t, a.Path)
	p := newPool(t, client.PoolConfig{MaxConns: 2})
	cmd, talk := talker(t, get(t, p, first.target))
	old := get(t, p, second.target)
	get(t, p, third.target) // takes the place of second, which is idle
	<-old.Done()
	other, talkToo := talker(t, get(t, p, third.target))
	if _, err := p.Get(patiently(t), second.target); !errors.Is(err, client.ErrPoolFull) {
		t.Error(err)
	}
	talk("here")
	talk("")
	wantExit(t, cmd.Wait(), 7)
	if err := say(patiently(t), p, second.target, "room"); err != nil {
		t.Error(err)
	}
	talkToo("here")
	talkToo("")
	wantExit(t, other.Wait(), 7)
	if s := p.Stats(); s.Conns != 2 || s.Evicted != 2 {
		t.Errorf("%+v", s)
	}
}

func TestPoolCloseEndsEverything(t *testing.T) {
	a := agenttest.Start(t)
	v, dead := startVMM(t, a.Path), startVMM(t, a.Path)
	dead.pause()
	p := newPool(t, client.PoolConfig{})
	c := get(t, p, v.target)
	cmd, _ := talker(t, c)
	waiting := make(chan error)
	go func() {
		_, err := p.Get(t.Context(), dead.target)
		waiting <- err
	}()
	eventually(t, "an attempt", func() bool { return dead.connections() == 1 })
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-waiting; !errors.Is(err, client.ErrPoolClosed) {
		t.Error(err)
	}
	if _, err := p.Get(t.Context(), v.target); !errors.Is(err, client.ErrPoolClosed) {
		t.Error(err)
	}
	if err := cmd.Wait(); !errors.Is(err, client.ErrPoolClosed) || !errors.Is(err, client.ErrLost) {
		t.Error(err)
	}
	if err := c.Command("true").Run(); !errors.Is(err, client.ErrPoolClosed) || !errors.Is(err, client.ErrLost) {
		t.Error(err)
	}
	if s := p.Stats(); s.Conns != 0 || s.Dialing != 0 || s.InUse != 0 {
		t.Errorf("%+v", s)
	}
}
