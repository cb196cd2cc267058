//go:build linux

package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// browser is an HTTP client whose connections lead into the guest.
func browser(tb testing.TB, dial func(context.Context, string, string) (net.Conn, error)) *http.Client {
	tb.Helper()
	transport := &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 32}
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestHTTPOverGuestConnectionsKeepsThemAlive(t *testing.T) {
	c, a := dial(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	}))
	defer web.Close()
	b := browser(t, c.DialGuest)
	for i := range 50 {
		body := strings.Repeat("x", i*1000)
		answer, err := b.Post(web.URL, "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(answer.Body)
		if err != nil || string(got) != body {
			t.Errorf("%d bytes of %d, %v", len(got), len(body), err)
		}
		_ = answer.Body.Close()
	}
	if n := strings.Count(a.Log.String(), `"forward started"`); n != 1 {
		t.Errorf("%d connections for 50 requests", n)
	}
	b.CloseIdleConnections()
	wantStreams(t, c)
}

func TestHTTPDownloadsAtOnceAreWhole(t *testing.T) {
	c, _ := dial(t)
	size := 8 << 20
	if testing.Short() {
		size = 1 << 20
	}
	noise := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(noise) }))
	defer web.Close()
	b := browser(t, c.DialGuest)
	b.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			answer, err := b.Get(web.URL)
			if err != nil {
				t.Error(err)
				return
			}
			defer answer.Body.Close()
			got := sha256.New()
			if n, err := io.Copy(got, answer.Body); n != int64(size) || err != nil || !bytes.Equal(got.Sum(nil), sum(noise)) {
				t.Errorf("%d bytes, %v, or other bytes than were sent", n, err)
			}
		})
	}
	all.Wait()
	b.CloseIdleConnections()
	wantStreams(t, c)
}

func sum(b []byte) []byte { s := sha256.Sum256(b); return s[:] }

func TestCancelledHTTPRequestEndsItsConnection(t *testing.T) {
	c, _ := dial(t)
	gone := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
		close(gone)
	}))
	defer web.Close()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, web.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := browser(t, c.DialGuest).Do(request); !errors.Is(err, context.Canceled) {
		_ = answer.Body.Close()
		t.Error(err)
	}
	<-gone
	wantStreams(t, c)
}

// through dials by a pool, as a program with many VMs does.
func through(p *client.Pool, target string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := p.Get(ctx, target)
		if err != nil {
			return nil, err
		}
		return c.DialGuest(ctx, network, address)
	}
}

func TestGuestConnKeepsItsPooledConnectionInUse(t *testing.T) {
	a := agenttest.Start(t)
	p := newPool(t, client.PoolConfig{IdleTimeout: 20 * time.Millisecond})
	s := serve(t, "unix", echo)
	nc, err := through(p, a.Target)(patiently(t), "unix", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if s := p.Stats(); s.InUse != 1 {
		t.Errorf("Stats = %+v, want 1 in use", s)
	}
	idle := time.NewTimer(100 * time.Millisecond) // several times IdleTimeout
	<-idle.C
	if _, err := io.WriteString(nc, "still there"); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(nc, make([]byte, 11)); err != nil {
		t.Error(err)
	}
	_ = nc.Close()
	agenttest.Eventually(t, "it is idle, and closed", func() bool { return p.Stats().Conns == 0 })
}

// An agent that shuts down takes no more forwards; the next one does.
func TestDialGuestRetriesOverAnotherConnection(t *testing.T) {
	for name, refuse := range map[string]func(*guest){
		"shutting down": func(g *guest) {
			m := g.receive().(*wire.Forward)
			g.send(&wire.Error{Head: wire.Head{ID: m.ID}, Kind: wire.ShuttingDown, Message: "going down"})
		},
		"lost": func(g *guest) {
			g.receive()
			_ = g.mux.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := agenttest.Start(t)
			hello := helloOf(t, a)
			var dials atomic.Int32
			config := soon()
			config.ProbeAfter = time.Minute
			config.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
				if dials.Add(1) > 1 {
					var d net.Dialer
					return d.DialContext(ctx, "unix", a.Path)
				}
				near, far := socketpair(t)
				go func() { // ends with its messages
					g, err := newGuest(t, far)
					if err != nil {
						t.Error(err)
						return
					}
					g.send(hello) // it is the same agent
					refuse(g)
				}()
				return near, nil
			}
			p := newPool(t, config)
			s := serve(t, "tcp", echo)
			nc, err := through(p, "vm")(patiently(t), "tcp", s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			_, _ = io.WriteString(nc, "x")
			if _, err := io.ReadFull(nc, make([]byte, 1)); err != nil {
				t.Error(err)
			}
			if got := p.Stats(); got.Retries != 1 || dials.Load() != 2 {
				t.Errorf("%+v, %d dials", got, dials.Load())
			}
		})
	}
}

func TestPoolsHTTPGoesOnAfterTheAgentWasReplaced(t *testing.T) {
	var current atomic.Pointer[agenttest.Agent]
	current.Store(agenttest.Start(t))
	config := soon()
	config.ProbeAfter = time.Minute // a probe could connect to the old agent once more, unseen by old.Done
	config.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", current.Load().Path)
	}
	p := newPool(t, config)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "hello") }))
	defer web.Close()
	b := browser(t, through(p, "vm"))
	for range 3 {
		answer, err := b.Get(web.URL)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(answer.Body); string(got) != "hello" || err != nil {
			t.Errorf("the body is %q, %v, want %q", got, err, "hello")
		}
		_ = answer.Body.Close()
		old := get(t, p, "vm")
		next := agenttest.Start(t)
		current.Swap(next).Shutdown(t)
		<-old.Done() // else the dialing begins over it, and goes on over no other agent
	}
	b.CloseIdleConnections()
}
