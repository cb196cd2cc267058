//go:build linux

package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
)

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
		target := v.Target
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
	if n := v.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	if s := p.Stats(); s.Targets != 1 || s.Conns != 1 || s.InUse != 0 || s.Dials != 1 || s.DialErrors != 0 {
		t.Errorf("Stats = %+v, want one target, connection and dial, and none in use", s)
	}
}

// Connections come and go under commands that are just being started.
func TestPoolKeepsConnectionsOfStartingCommands(t *testing.T) {
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
	agenttest.Eventually(t, "all have an answer", func() bool { return got.Load()+full.Load() == 50 })
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
		agenttest.Eventually(t, "it is busy", func() bool { return p.Stats().Conns >= 3 })
		_ = p.Close()
		if s := p.Stats(); s.Conns != 0 || s.Dialing != 0 {
			t.Errorf("Stats after Close = %+v, want no connections and dials", s)
		}
		all.Wait()
	}
}

func TestPoolClosesOnlyIdleConnections(t *testing.T) {
	a := agenttest.Start(t)
	idle, busy := startVMM(t, a.Path), startVMM(t, a.Path)
	config := client.PoolConfig{IdleTimeout: 20 * time.Millisecond}
	p := newPool(t, config)
	cmd, talk := talker(t, get(t, p, busy.Target))
	c := get(t, p, idle.Target)
	<-c.Done()
	agenttest.Eventually(t, "the idle one's target is forgotten", func() bool { return p.Stats().Targets == 1 })
	talk("still here")
	if s := p.Stats(); s.Conns != 1 || s.InUse != 1 || s.Evicted != 1 {
		t.Errorf("Stats = %+v, want one connection, in use, and one evicted", s)
	}
	talk("")
	wantExit(t, cmd.Wait(), 7)
	agenttest.Eventually(t, "all are closed", func() bool { s := p.Stats(); return s.Conns == 0 && s.Targets == 0 })
	if out, err := c.Command("echo", "there").Output(); err != nil || string(out) != "there\n" {
		t.Errorf("a Client that was kept for too long: %q, %v", out, err)
	}
}

func TestPoolKeepsToItsLimit(t *testing.T) {
	a := agenttest.Start(t)
	first, second, third := startVMM(t, a.Path), startVMM(t, a.Path), startVMM(t, a.Path)
	p := newPool(t, client.PoolConfig{MaxConns: 2})
	cmd, talk := talker(t, get(t, p, first.Target))
	old := get(t, p, second.Target)
	get(t, p, third.Target) // takes the place of second, which is idle
	<-old.Done()
	other, talkToo := talker(t, get(t, p, third.Target))
	if _, err := p.Get(patiently(t), second.Target); !errors.Is(err, client.ErrPoolFull) {
		t.Error(err)
	}
	talk("here")
	talk("")
	wantExit(t, cmd.Wait(), 7)
	if err := say(patiently(t), p, second.Target, "room"); err != nil {
		t.Error(err)
	}
	talkToo("here")
	talkToo("")
	wantExit(t, other.Wait(), 7)
	if s := p.Stats(); s.Conns != 2 || s.Evicted != 2 {
		t.Errorf("Stats = %+v, want two connections and two evicted", s)
	}
}

func TestPoolCloseEndsEverything(t *testing.T) {
	a := agenttest.Start(t)
	v, dead := startVMM(t, a.Path), startVMM(t, a.Path)
	dead.Pause()
	p := newPool(t, client.PoolConfig{})
	c := get(t, p, v.Target)
	cmd, _ := talker(t, c)
	waiting := make(chan error)
	go func() {
		_, err := p.Get(t.Context(), dead.Target)
		waiting <- err
	}()
	agenttest.Eventually(t, "an attempt", func() bool { return dead.Connections() == 1 })
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-waiting; !errors.Is(err, client.ErrPoolClosed) {
		t.Error(err)
	}
	if _, err := p.Get(t.Context(), v.Target); !errors.Is(err, client.ErrPoolClosed) {
		t.Error(err)
	}
	if err := cmd.Wait(); !errors.Is(err, client.ErrPoolClosed) || !errors.Is(err, client.ErrLost) {
		t.Error(err)
	}
	if err := c.Command("true").Run(); !errors.Is(err, client.ErrPoolClosed) || !errors.Is(err, client.ErrLost) {
		t.Error(err)
	}
	if s := p.Stats(); s.Conns != 0 || s.Dialing != 0 || s.InUse != 0 {
		t.Errorf("Stats after Close = %+v, want no connections and dials", s)
	}
}
