//go:build linux

package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/session"
)

// A guestAgent is an agent that may be replaced by one that speaks another
// version, on the same socket.
type guestAgent struct {
	target string

	mu       sync.Mutex
	speaks   int    // 1, 2, or 0: either
	path     string // of the agent behind it
	first    int    // connections whose first line was the preface of version 2
	commands int    // … was a command of version 1
}

// startGuest starts one that knows one version alone, or, with 0, both.
func startGuest(tb testing.TB, speaks int) *guestAgent {
	tb.Helper()
	a := agenttest.StartWith(tb, func(c *session.Config) { c.Quotas.Connections = 4096 })
	g := &guestAgent{speaks: speaks, path: a.Path}
	path := filepath.Join(tb.TempDir(), "g")
	ln, err := net.Listen("unix", path)
	if err != nil {
		tb.Fatal(err)
	}
	g.target = "unix://" + path
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { g.serve(tb, conn) })
		}
	})
	tb.Cleanup(func() {
		_ = ln.Close()
		serving.Wait()
	})
	return g
}

func (g *guestAgent) upgrade(to int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.speaks = to
}

func (g *guestAgent) counts() (first, commands int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.first, g.commands
}

func (g *guestAgent) serve(tb testing.TB, conn net.Conn) {
	tb.Helper()
	defer conn.Close()
	in := bufio.NewReader(conn)
	line, err := in.ReadString('\n')
	if err != nil {
		return
	}
	version := 1
	g.mu.Lock()
	if strings.Contains(line, "cocoon-agent/2") {
		version = 2
		g.first++
	} else {
		g.commands++
	}
	knows := g.speaks == 0 || g.speaks == version
	g.mu.Unlock()
	if !knows {
		_, _ = io.WriteString(conn, `{"type":"error","message":"what is that?"}`+"\n")
		return
	}
	agent, err := net.Dial("unix", g.path)
	if err != nil {
		tb.Error(err)
		return
	}
	defer agent.Close()
	go func() { // ends with conn or agent
		_, _ = io.WriteString(agent, line)
		_, _ = io.Copy(agent, in)
		_ = agent.Close()
	}()
	_, _ = io.Copy(conn, agent)
}

func TestPoolOfAgentsOfBothVersionsUnderLoad(t *testing.T) {
	const agents, callers, each = 8, 16, 12
	var guests []*guestAgent
	for i := range agents {
		guests = append(guests, startGuest(t, 1+i%2))
	}
	p := newPool(t, client.PoolConfig{ProbeAfter: time.Hour}) // no probes: each connection is a command's
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for j := range each {
				if err := say(patiently(t), p, guests[(i+j)%agents].target, fmt.Sprint("word", i, j)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for i, g := range guests {
		first, commands := g.counts()
		want := 0
		if i%2 == 0 {
			want = callers * each / agents
		}
		if first != 1 || commands != want {
			t.Errorf("agent of version %d: %d connections of version 2, %d of version 1, want 1 and %d", 1+i%2, first, commands, want)
		}
	}
	if s := p.Stats(); s.Conns != agents || s.Dials != agents || s.DialErrors != 0 || s.Retries != 0 || s.InUse != 0 {
		t.Errorf("Stats = %+v, want %d connections and dials, and no more", s, agents)
	}
}

func TestPoolReconnectsOnceForVersion1(t *testing.T) {
	g := startGuest(t, 1)
	p := newPool(t, client.PoolConfig{ProbeAfter: time.Hour})
	for n := 1; n <= 5; n++ {
		if err := say(patiently(t), p, g.target, "x"); err != nil {
			t.Fatal(err)
		}
		if first, commands := g.counts(); first != 1 || commands != n {
			t.Errorf("%d connections of version 2, %d of version 1, for %d commands", first, commands, n)
		}
	}
	if v := get(t, p, g.target).Protocol(); v != client.Protocol1 {
		t.Errorf("protocol %d", v)
	}
}

func TestPoolNoticesAnAgentThatHasLearntVersion2(t *testing.T) {
	for name, speaks := range map[string]int{"both": 0, "version 2 alone": 2} {
		t.Run(name, func(t *testing.T) {
			g := startGuest(t, 1)
			p := newPool(t, soon())
			cmd, talk := talker(t, get(t, p, g.target))
			talk("before")
			g.upgrade(speaks)
			agenttest.Eventually(t, "version 2", func() bool {
				if err := say(patiently(t), p, g.target, "x"); err != nil {
					t.Fatal(err)
				}
				return get(t, p, g.target).Protocol() == client.Protocol2
			})
			talk("after") // what runs over version 1 goes on
			talk("")
			wantExit(t, cmd.Wait(), 7)
			agenttest.Eventually(t, "the end of the old one", func() bool { return p.Stats().Conns == 1 })
		})
	}
}

func TestPoolNoticesADowngradeToVersion1(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	p := newPool(t, soon())
	if err := say(patiently(t), p, v.Target, "x"); err != nil {
		t.Fatal(err)
	}
	g := startGuest(t, 1)
	v.Boot(strings.TrimPrefix(g.target, "unix://"))
	v.Cut()
	agenttest.Eventually(t, "version 1", func() bool {
		err := say(patiently(t), p, v.Target, "x")
		if err != nil && !errors.Is(err, client.ErrLost) {
			t.Fatal(err)
		}
		return err == nil && get(t, p, v.Target).Protocol() == client.Protocol1
	})
}

func TestPoolSwitchesToVersion2AfterAnUpgrade(t *testing.T) {
	g := startGuest(t, 1)
	p := newPool(t, client.PoolConfig{ProbeAfter: time.Hour})
	if err := say(patiently(t), p, g.target, "x"); err != nil {
		t.Fatal(err)
	}
	g.upgrade(2)
	if err := say(patiently(t), p, g.target, "y"); err != nil {
		t.Error(err)
	}
	if v := get(t, p, g.target).Protocol(); v != client.Protocol2 || p.Stats().Retries != 1 {
		t.Errorf("protocol %d, %+v", v, p.Stats())
	}
}

func TestIdleVersion1ClientEndsAfterAnUpgrade(t *testing.T) {
	g := startGuest(t, 1)
	c := connect(t, g.target)
	cmd, talk := talker(t, c)
	g.upgrade(0)
	if err := c.Ping(patiently(t)); !errors.Is(err, client.ErrLost) {
		t.Errorf("ping: %v", err)
	}
	if err := c.Command("true").Run(); !errors.Is(err, client.ErrLost) {
		t.Errorf("a new command: %v", err)
	}
	talk("still here")
	talk("")
	wantExit(t, cmd.Wait(), 7)
	<-c.Done()
	if err := c.Err(); !errors.Is(err, client.ErrLost) || !strings.Contains(err.Error(), "upgraded") {
		t.Error(err)
	}
}

func TestProtocolThatIsAskedForIsSpoken(t *testing.T) {
	both := startGuest(t, 0)
	for _, protocol := range []client.Protocol{client.Protocol1, client.Protocol2} {
		c, err := client.DialProtocol(t.Context(), both.target, protocol)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(c.Ready(patiently(t)), c.Ping(patiently(t)), c.Command("true").Run()); err != nil || c.Protocol() != protocol {
			t.Errorf("%d instead of %d: %v", c.Protocol(), protocol, err)
		}
		_ = c.Close()
		p := newPool(t, client.PoolConfig{Protocol: protocol})
		if err := say(patiently(t), p, both.target, "x"); err != nil || get(t, p, both.target).Protocol() != protocol {
			t.Error(err)
		}
	}
	old := startGuest(t, 1)
	c, err := client.DialProtocol(t.Context(), old.target, client.Protocol2)
	if err == nil {
		defer c.Close()
		err = c.Command("true").Run()
	}
	if !errors.Is(err, client.ErrNotSpoken) {
		t.Error(err)
	}
	if _, err := client.DialProtocol(t.Context(), old.target, 3); err == nil {
		t.Error("protocol 3")
	}
	if _, err := newPool(t, client.PoolConfig{Protocol: client.Protocol2}).Get(patiently(t), old.target); !errors.Is(err, client.ErrNotSpoken) {
		t.Error(err)
	}
}

func TestAgentOfVersion1ThatIsNotThereIsNotReady(t *testing.T) {
	c, err := client.DialProtocol(t.Context(), "unix://"+filepath.Join(t.TempDir(), "none"), client.Protocol1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Ready(patiently(t)); err == nil {
		t.Error("it is ready")
	}
	if _, ok := errors.AsType[*client.DialError](c.Command("true").Run()); !ok {
		t.Error("a command")
	}
}

func TestCloseEndsVersion1Commands(t *testing.T) {
	g := startGuest(t, 1)
	c := connect(t, g.target)
	cmd, talk := talker(t, c)
	talk("x")
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	<-c.Done()
	if err := cmd.Wait(); !errors.Is(err, client.ErrClosed) {
		t.Error(err)
	}
	agenttest.Eventually(t, "the command's end", func() bool { return gone(fmt.Sprint(cmd.PID())) })
}

func TestPausedVMOfVersion1IsKeptWithItsCommands(t *testing.T) {
	g := startGuest(t, 1)
	v := startVMM(t, strings.TrimPrefix(g.target, "unix://"))
	config := soon()
	config.DialTimeout = 100 * time.Millisecond
	p := newPool(t, config)
	cmd, talk := talker(t, get(t, p, v.Target))
	talk("before")
	v.Pause()
	agenttest.Eventually(t, "an error", func() bool {
		_, err := p.Get(patiently(t), v.Target)
		return err != nil
	})
	v.Resume()
	talk("after")
	talk("")
	wantExit(t, cmd.Wait(), 7)
	agenttest.Eventually(t, "a command", func() bool { return say(context.WithoutCancel(t.Context()), p, v.Target, "x") == nil })
	if s := p.Stats(); s.Stale != 0 {
		t.Errorf("Stats = %+v, want none stale", s)
	}
}

func TestManyCommandsOfVersion1AtOnceAreAllServed(t *testing.T) {
	a := agenttest.Start(t)
	c, err := client.DialProtocol(t.Context(), a.Target, client.Protocol1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var all sync.WaitGroup
	for range 120 { // fewer than the agent serves, and far more than it has room for before they have said anything
		all.Go(func() {
			if err := c.CommandContext(patiently(t), "true").Run(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}
