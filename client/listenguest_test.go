//go:build linux

package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/local"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// allowListen lets hosts listen everywhere.
func allowListen(c *session.Config) {
	all, err := local.ParseRules([]string{"tcp:*"})
	if err != nil {
		panic(err)
	}
	c.Policy.Listen = all
}

func listenGuest(tb testing.TB, c *client.Client) *client.GuestListener {
	tb.Helper()
	l, err := c.ListenGuest(patiently(tb), "tcp", "localhost:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	return l
}

// guestDial connects as a program of the guest.
func guestDial(tb testing.TB, l net.Listener) *net.TCPConn {
	tb.Helper()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(agenttest.Patience))
	return nc.(*net.TCPConn)
}

func TestGuestListenerServesHTTP(t *testing.T) {
	c := connect(t, agenttest.StartWith(t, allowListen).Target)
	l := listenGuest(t, c)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }() // stopped by Close
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			body := strings.Repeat("x", 100*i)
			answer, err := http.Post("http://"+l.Addr().String(), "text/plain", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			defer answer.Body.Close()
			if got, err := io.ReadAll(answer.Body); err != nil || string(got) != body {
				t.Errorf("request %d: %d bytes, %v, want %d", i, len(got), err, len(body))
			}
		})
	}
	all.Wait()
	http.DefaultClient.CloseIdleConnections()
	_ = server.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve = %v, want %v", err, http.ErrServerClosed)
	}
	wantStreams(t, c)
	if _, err := net.Dial("tcp", l.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a listener that was closed: %v, want %v", err, syscall.ECONNREFUSED)
	}
}

func TestGuestListenerConnHasAddressesAndResets(t *testing.T) {
	c := connect(t, agenttest.StartWith(t, allowListen).Target)
	l := listenGuest(t, c)
	for range 20 {
		guest := guestDial(t, l)
		host, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := host.RemoteAddr().String(), guest.LocalAddr().String(); got != want || host.LocalAddr().String() != l.Addr().String() {
			t.Errorf("addresses %s and %s, want %s and %s", got, host.LocalAddr(), want, l.Addr())
		}
		_, _ = io.WriteString(host, "so far")
		_ = host.(*client.GuestConn).Reset()
		if got, err := io.ReadAll(guest); string(got) != "so far" || !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("the program in the guest reads %q, %v, want %v", got, err, syscall.ECONNRESET)
		}
	}
	agenttest.Eventually(t, "only the accepts that wait are left", func() bool { return client.NumStreams(c) == 1+8 })
}

func TestListenGuestRefusals(t *testing.T) {
	c, _ := dial(t)
	_, err := c.ListenGuest(patiently(t), "tcp", "localhost:0")
	wantKind(t, err, client.PermissionDenied)
	if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "listen" {
		t.Errorf("ListenGuest's error is a %T, want a *net.OpError of listen", err)
	}
	free := connect(t, agenttest.StartWith(t, allowListen).Target)
	_, err = free.ListenGuest(patiently(t), "tcp", "10.0.0.1:80")
	wantKind(t, err, client.BadRequest)
	taken := listen(t, "tcp")
	_, err = free.ListenGuest(patiently(t), "tcp", taken.Addr().String())
	wantKind(t, err, client.Limit)
}

func TestListenGuestNeedsTheFeature(t *testing.T) {
	c, g := hostile(t)
	_, err := c.ListenGuest(patiently(t), "tcp", "localhost:80")
	wantKind(t, err, client.Unsupported)
	_ = g.mux.Close()
}

func TestGuestListenerEndsWithItsClient(t *testing.T) {
	for name, end := range map[string]func(*client.Client, *agenttest.Agent) error{
		"closed by the host": func(c *client.Client, _ *agenttest.Agent) error { return c.Close() },
		"agent shut down": func(_ *client.Client, a *agenttest.Agent) error {
			a.Shutdown(t)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := agenttest.StartWith(t, allowListen)
			c := connect(t, a.Target)
			l := listenGuest(t, c)
			if err := end(c, a); err != nil {
				t.Fatal(err)
			}
			_, err := l.Accept()
			remote, ok := errors.AsType[*client.RemoteError](err)
			if said := ok && remote.Kind == client.ShuttingDown; !said && !errors.Is(err, client.ErrLost) {
				t.Errorf("Accept = %v (%T), want %v or an error of kind %s", err, err, client.ErrLost, client.ShuttingDown)
			}
		})
	}
}

func TestGuestListenerCloseUnblocksAccept(t *testing.T) {
	c := connect(t, agenttest.StartWith(t, allowListen).Target)
	l := listenGuest(t, c)
	guest := guestDial(t, l) // nobody accepts it
	blocked := make(chan error, 1)
	go func() { // ended by Close
		for {
			if _, err := l.Accept(); err != nil {
				blocked <- err
				return
			}
		}
	}()
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if err := <-blocked; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close = %v, want %v", err, net.ErrClosed)
	}
	_ = guest.Close()
	wantStreams(t, c)
}

// A VM that is restored resets the connection. The agent is the same.
func TestPoolsGuestListenerListensAgain(t *testing.T) {
	a := agenttest.StartWith(t, allowListen)
	var mu sync.Mutex
	var conns []net.Conn
	pool := client.NewPool(client.PoolConfig{Dial: func(ctx context.Context, target string) (net.Conn, error) {
		var d net.Dialer
		nc, err := d.DialContext(ctx, "unix", a.Path)
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, nc)
		return nc, err
	}})
	defer pool.Close()
	c, err := pool.Get(patiently(t), "vm")
	if err != nil {
		t.Fatal(err)
	}
	l := listenGuest(t, c)
	address := l.Addr().String()
	for i := range 3 {
		guest := guestDial(t, l)
		host, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		_ = conns[i].Close()
		mu.Unlock()
		if _, err := io.ReadAll(guest); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a connection of a lost agent reads %v, want %v", err, syscall.ECONNRESET)
		}
		_ = host.Close()
		agenttest.Eventually(t, fmt.Sprintf("it listens again (%d)", i), func() bool {
			mu.Lock()
			n := len(conns)
			mu.Unlock()
			nc, err := net.Dial("tcp", address)
			if err == nil {
				_ = nc.Close()
			}
			return err == nil && n == i+2
		})
		drain(t, l)
	}
	if l.Addr().String() != address {
		t.Errorf("Addr after that = %s, want %s", l.Addr(), address)
	}
}

// drain takes the connections that have closed.
func drain(t *testing.T, l *client.GuestListener) {
	t.Helper()
	guest := guestDial(t, l)
	for {
		host, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		last := host.RemoteAddr().String() == guest.LocalAddr().String()
		_ = host.Close()
		if last {
			return
		}
	}
}

// A guest that says that it listens, and never has a connection.
func TestGuestThatNeverAcceptsHoldsUpNothing(t *testing.T) {
	c, g := mute(t)
	g.offend(&wire.Hello{Min: 2, Max: 2, Features: []string{wire.FeatureListen}})
	go func() { // ends with its messages
		for m := g.receive(); m != nil; m = g.receive() {
			if listen, ok := m.(*wire.Listen); ok {
				g.send(&wire.Started{Head: wire.Head{ID: listen.ID}, Address: "127.0.0.1:80"})
				return
			}
		}
	}()
	l, err := c.ListenGuest(patiently(t), "tcp", "localhost:80")
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Addr().String(); got != "127.0.0.1:80" {
		t.Errorf("Addr = %s, want 127.0.0.1:80", got)
	}
	_ = l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close = %v, want %v", err, net.ErrClosed)
	}
	_ = g.mux.Close()
}
