//go:build linux

package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func TestGuestConnectionIsANetConn(t *testing.T) {
	c, _ := dial(t)
	overEachNetwork(t, func(t *testing.T, network string) {
		s := listen(t, network)
		pipe := func() (net.Conn, net.Conn, func(), error) {
			host, err := c.DialGuest(patiently(t), network, s.Addr().String())
			if err != nil {
				return nil, nil, nil, err
			}
			guest, err := s.Accept()
			return host, guest, func() { _, _ = host.Close(), guest.Close() }, err
		}
		t.Run("host", func(t *testing.T) { nettest.TestConn(t, pipe) })
		t.Run("guest", func(t *testing.T) {
			nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
				host, guest, stop, err := pipe()
				return guest, host, stop, err
			})
		})
	})
}

func TestDialGuestOfAMissingServiceIsNotFound(t *testing.T) {
	c, _ := dial(t)
	s := listen(t, "tcp")
	_ = s.Close()
	for network, address := range map[string]string{"tcp": s.Addr().String(), "unix": "/nosuch/socket"} {
		_, err := c.DialGuest(patiently(t), network, address)
		wantKind(t, err, client.NotFound)
		if _, ok := errors.AsType[*net.OpError](err); !ok {
			t.Errorf("DialGuest's error is a %T, want a *net.OpError", err)
		}
	}
	wantStreams(t, c)
}

func TestGuestConnCarriesMegabytesBothWays(t *testing.T) {
	c, _ := dial(t)
	size := 64 << 20
	if testing.Short() {
		size = 8 << 20
	}
	overEachNetwork(t, func(t *testing.T, network string) {
		host, guest := ends(t, c, listen(t, network))
		var all sync.WaitGroup
		for i, way := range [][2]halfCloser{{host, guest}, {guest, host}} {
			from, to, seed := way[0], way[1], [32]byte{byte(i)}
			all.Go(func() {
				if _, err := io.CopyN(from, rand.NewChaCha8(seed), int64(size)); err != nil {
					t.Error(err)
				}
				_ = from.CloseWrite()
			})
			all.Go(func() {
				got, want := sha256.New(), sha256.New()
				_, _ = io.CopyN(want, rand.NewChaCha8(seed), int64(size))
				if n, err := io.Copy(got, to); n != int64(size) || err != nil || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
					t.Errorf("%d bytes, %v, or other bytes than were sent", n, err)
				}
			})
		}
		all.Wait()
	})
}

func TestHundredGuestConnsKeepApart(t *testing.T) {
	c, _ := dial(t)
	s := serve(t, "tcp", echo)
	if err := c.Ping(patiently(t)); err != nil { // all of the connection is there
		t.Fatal(err)
	}
	before := resources(t)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			host := dialGuest(t, c, s)
			defer host.Close()
			sent := bytes.Repeat(fmt.Appendf(nil, "%3d,", i), 50_000)
			go func() { _, _ = host.Write(sent); _ = host.CloseWrite() }() // ends with the connection
			if got, err := io.ReadAll(host); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d: %d bytes of %d, %v", i, len(got), len(sent), err)
			}
		})
	}
	all.Wait()
	wantStreams(t, c)
	agenttest.Eventually(t, "descriptors and goroutines are what they were", func() bool {
		now := resources(t)
		return now.fds <= before.fds && now.goroutines <= before.goroutines
	})
}

func TestIdleGuestConnsHoldNoBuffersInTheAgent(t *testing.T) {
	c, _ := dial(t)
	s := listen(t, "unix")
	for range 64 {
		host, guest := ends(t, c, s)
		if _, err := io.WriteString(host, "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(guest, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	before := heap()
	for range 64 {
		ends(t, c, s)
	}
	// Both sides, and the service, are in this process.
	if each := (int64(heap()) - int64(before)) / 64; each > 16<<10 {
		t.Errorf("%d bytes each", each)
	}
}

func TestSideThatDoesNotReadHoldsUpNobodyElse(t *testing.T) {
	c, _ := dial(t)
	s := listen(t, "tcp")
	for _, stuck := range []string{"guest", "host"} {
		t.Run(stuck, func(t *testing.T) {
			var floods sync.WaitGroup
			var flooding []halfCloser
			for range 8 {
				from, to := ends(t, c, s)
				if stuck == "host" {
					from, to = to, from
				}
				flooding = append(flooding, from, to)
				floods.Go(func() { _, _ = io.Copy(from, endless{}) }) // ended by Close
			}
			defer func() {
				for _, end := range flooding {
					_ = end.Close()
				}
				floods.Wait()
			}()
			for range 20 {
				if out, err := c.CommandContext(patiently(t), "echo", "on").Output(); err != nil || string(out) != "on\n" {
					t.Fatalf("Output = %q, %v, want %q", out, err, "on\n")
				}
			}
			host, guest := ends(t, c, s)
			_, _ = io.WriteString(host, "x")
			if _, err := io.ReadFull(guest, make([]byte, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	wantStreams(t, c)
}

// As while a VM is paused: nothing goes out, and nothing comes.
func TestGuestConnDeadlinesHoldOnAStalledLink(t *testing.T) {
	a := agenttest.Start(t)
	stall := newStall()
	c, err := client.DialWith(t.Context(), dialFaulty(a.Path, &fault{}, &fault{at: 100_000, strike: stall.strike}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer close(stall.released)
	s := serve(t, "tcp", func(guest halfCloser) { _, _ = io.Copy(io.Discard, guest) })
	host, other := dialGuest(t, c, s), dialGuest(t, c, s)
	_ = host.SetDeadline(time.Now().Add(100 * time.Millisecond))
	for what, err := range map[string]error{
		"write": second(host.Write(make([]byte, 1<<20))), "write again": second(host.Write([]byte("x"))), "read": second(host.Read(make([]byte, 1))),
	} {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s after the deadline = %v, want %v", what, err, os.ErrDeadlineExceeded)
		}
	}
	blocked := make(chan error, 1)
	go func() { _, err := other.Write(make([]byte, 1<<20)); blocked <- err }() // ended by Close
	<-stall.begun
	_, _ = host.Close(), other.Close()
	if err := <-blocked; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := c.DialGuest(ctx, "tcp", s.Addr().String()); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestDialGuestThatIsCancelledLeavesNothing(t *testing.T) {
	c, a := dial(t)
	s := serve(t, "unix", echo)
	for i := range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*10*time.Microsecond)
		if nc, err := c.DialGuest(ctx, "unix", s.Addr().String()); err == nil {
			_ = nc.Close()
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		cancel()
	}
	wantStreams(t, c)
	agenttest.Eventually(t, "all that has started has ended", func() bool {
		return strings.Count(a.Log.String(), `"forward started"`) == strings.Count(a.Log.String(), `"forward ended"`)
	})
}

func TestDialGuestRefusalsAreRemoteErrors(t *testing.T) {
	a := agenttest.StartWith(t, func(config *session.Config) { config.Quotas.Forwards = 1 })
	c := connect(t, a.Target)
	s := listen(t, "tcp")
	_, err := c.DialGuest(patiently(t), "tcp", "10.0.0.1:80")
	wantKind(t, err, client.BadRequest)
	ends(t, c, s)
	_, err = c.DialGuest(patiently(t), "tcp", s.Addr().String())
	wantKind(t, err, client.Limit)
	_, err = c.DialGuest(patiently(t), "unix", "/"+strings.Repeat("x", 5<<20))
	if err == nil || !strings.Contains(err.Error(), "address too long") {
		t.Errorf("DialGuest of a long path = %.300v, want %q", err, "address too long")
	}
}

func TestDialGuestOfAnOldAgentIsUnsupported(t *testing.T) {
	c, g := hostile(t)
	go func() { // ends with its messages
		m, ok := g.receive().(*wire.Forward)
		if !ok {
			t.Errorf("the agent gets a %T, want a forward", m)
			return
		}
		g.send(&wire.Error{Head: wire.Head{ID: m.ID}, Kind: wire.Unsupported, Message: `this agent knows no request "forward"`})
	}()
	_, err := c.DialGuest(patiently(t), "tcp", "localhost:80")
	wantKind(t, err, client.Unsupported)
}
