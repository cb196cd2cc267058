//go:build linux

package hybrid_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/driver"
	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/hybrid"
	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/vhostuser"
)

// dial connects a client, and writes its first bytes.
func (d *device) dial(t *testing.T, first string) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: d.uds, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, first); err != nil {
		t.Fatal(err)
	}
	return c
}

// connect connects a client with the guest's port 1024. request is the guest's view of it.
func connect(t *testing.T, d *device, g *guest) (c *net.UnixConn, r *bufio.Reader, request packet) {
	t.Helper()
	c = d.dial(t, "CONNECT 1024\n")
	request, _ = g.want(opRequest)
	g.send(answer(request, opResponse), "")
	r = bufio.NewReader(c)
	want := fmt.Sprintf("OK %d\n", request.SrcPort)
	if line, err := r.ReadString('\n'); line != want {
		t.Fatalf("handshake: %q, %v, want %q", line, err, want)
	}
	return c, r, request
}

func TestReadConnect(t *testing.T) {
	for _, test := range []struct {
		line string
		port uint32
		ok   bool
	}{
		{"CONNECT 1024\n", 1024, true},
		{"connect 1024\r\n", 1024, true},
		{"CONNECT 4294967295\n", 4294967295, true},
		{"CONNECT 4294967296\n", 0, false},
		{"CONNECT -1\n", 0, false},
		{"CONNECT\n", 0, false},
		{"\n", 0, false},
		{"GET / HTTP/1.1\n", 0, false},
		{"CONNECT 1024", 0, false},
		{"CONNECT " + strings.Repeat("0", 64) + "1\n", 0, false},
	} {
		host, client := net.Pipe()
		go func() { // ends with the pipe
			_, _ = io.WriteString(client, test.line+"x")
			_ = client.Close()
		}()
		port, err := hybrid.ReadConnect(host)
		if (err == nil) != test.ok || err == nil && port != test.port {
			t.Errorf("ReadConnect(%q) = %d, %v, want %d, ok %v", test.line, port, err, test.port, test.ok)
		}
		if rest, _ := io.ReadAll(host); test.ok && string(rest) != "x" {
			t.Errorf("ReadConnect(%q) left %q, want x", test.line, rest)
		}
		_ = host.Close()
	}
}

func TestClientTalksWithTheGuest(t *testing.T) {
	d := newDevice(t, nil)
	g := boot(t, d)
	c, r, request := connect(t, d, g)
	if request.DstPort != 1024 || request.SrcPort < 1<<30 || request.BufAlloc != 64<<10 {
		t.Errorf("the guest got %+v", request)
	}
	if _, err := io.WriteString(c, "ping"); err != nil {
		t.Fatal(err)
	}
	if _, data := g.want(opData); data != "ping" {
		t.Errorf("the guest got %q, want ping", data)
	}
	g.send(answer(request, opData), "pong")
	g.send(packet{SrcPort: request.DstPort, DstPort: request.SrcPort, Op: opShutdown, Flags: 2}, "")
	if got, err := io.ReadAll(r); string(got) != "pong" || err != nil {
		t.Errorf("the client got %q, %v, want pong", got, err)
	}
	// The guest's half-close leaves the other direction open.
	if _, err := io.WriteString(c, "more"); err != nil {
		t.Fatal(err)
	}
	if _, data := g.want(opData); data != "more" {
		t.Errorf("the guest got %q, want more", data)
	}
	_ = c.Close()
	if p, _ := g.want(opShutdown); p.Flags != 3 {
		t.Errorf("shutdown with flags %d, want 3", p.Flags)
	}
}

func TestGuestRefusesClient(t *testing.T) {
	d := newDevice(t, nil)
	g := boot(t, d)
	c := d.dial(t, "CONNECT 7\n")
	request, _ := g.want(opRequest)
	g.send(answer(request, opReset), "")
	if got, err := io.ReadAll(c); len(got) > 0 || err != nil {
		t.Errorf("the client got %q, %v, want the end", got, err)
	}
}

func TestGuestDoesNotAnswerClient(t *testing.T) {
	d := newDevice(t, func(c *hybrid.Config) { c.ConnectTimeout = 50 * time.Millisecond })
	g := boot(t, d)
	c := d.dial(t, "CONNECT 7\n")
	g.want(opRequest)
	if got, err := io.ReadAll(c); len(got) > 0 || err != nil {
		t.Errorf("the client got %q, %v, want the end", got, err)
	}
	g.want(opReset)
}

func TestClientWithoutGuest(t *testing.T) {
	d := newDevice(t, func(c *hybrid.Config) { c.ConnectTimeout = 10 * time.Millisecond })
	if got, err := io.ReadAll(d.dial(t, "CONNECT 7\n")); len(got) > 0 || err != nil {
		t.Errorf("the client got %q, %v, want the end", got, err)
	}
}

func TestGuestConnectsToHost(t *testing.T) {
	d := newDevice(t, nil)
	g := boot(t, d)
	l := listen(t, d.uds+"_99")
	g.send(packet{SrcPort: 5000, DstPort: 99, Op: opRequest}, "")
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	response, _ := g.want(opResponse)
	g.send(answer(response, opData), "hello")
	var b [5]byte
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, b[:]); err != nil || string(b[:]) != "hello" {
		t.Errorf("the host got %q, %v, want hello", b, err)
	}

	g.send(packet{SrcPort: 5000, DstPort: 98, Op: opRequest}, "") // where nobody listens
	if p, _ := g.want(opReset); p.SrcPort != 98 || p.DstPort != 5000 {
		t.Errorf("got %+v, want a reset of 98:5000", p)
	}
}

func TestHalfCloseOfAClient(t *testing.T) {
	for _, test := range []struct {
		firecracker bool
		flags       uint32
	}{{false, 2}, {true, 3}} {
		t.Run(fmt.Sprintf("firecracker=%v", test.firecracker), func(t *testing.T) {
			d := newDevice(t, func(c *hybrid.Config) { c.Firecracker = test.firecracker })
			g := boot(t, d)
			c, r, request := connect(t, d, g)
			_ = c.CloseWrite()
			if p, _ := g.want(opShutdown); p.Flags != test.flags {
				t.Errorf("shutdown with flags %d, want %d", p.Flags, test.flags)
			}
			if test.firecracker {
				return
			}
			g.send(answer(request, opData), "the rest")
			g.send(answer(request, opReset), "")
			if got, err := io.ReadAll(r); string(got) != "the rest" || err != nil {
				t.Errorf("the client got %q, %v, want the rest", got, err)
			}
		})
	}
}

func TestGuestThatOverrunsItsCreditIsReset(t *testing.T) {
	d := newDevice(t, func(c *hybrid.Config) { c.BufAlloc = 4096 })
	g := boot(t, d)
	_, _, request := connect(t, d, g)
	g.send(answer(request, opData), strings.Repeat("x", 4097))
	if p, _ := g.want(opReset); p.SrcPort != request.SrcPort {
		t.Errorf("got %+v, want a reset of %d", p, request.SrcPort)
	}
}

func TestPacketsThatAreWrongAreSurvived(t *testing.T) {
	d := newDevice(t, nil)
	g := boot(t, d)
	g.sendRaw(make([]byte, packetSize-1))                                           // short
	g.sendRaw(packet{SrcCID: 99, DstCID: 2, Type: 1, Op: opRequest}.encode())       // another guest's
	g.sendRaw(packet{SrcCID: guestCID, DstCID: 3, Type: 1, Op: opRequest}.encode()) // to another guest
	g.send(packet{SrcPort: 1, DstPort: 2, Op: opReset}, "")                         // of no connection
	g.send(packet{SrcPort: 1, DstPort: 2, Op: opData}, "x")                         // of none either
	if p, _ := g.want(opReset); p.SrcPort != 2 || p.DstPort != 1 {
		t.Errorf("got %+v, want a reset of 2:1", p)
	}
	_, r, request := connect(t, d, g)
	lie := packet{SrcCID: guestCID, DstCID: 2, SrcPort: 1024, DstPort: request.SrcPort, Type: 1, Op: opData, Len: 1 << 31}
	g.sendRaw(append(lie.encode(), "ab"...)) // has less than it says
	g.send(answer(request, opReset), "")
	if got, err := io.ReadAll(r); string(got) != "ab" || err != nil {
		t.Errorf("the client got %q, %v, want ab", got, err)
	}
}

func TestBrokenRingStopsTheQueue(t *testing.T) {
	d := newDevice(t, nil)
	g := boot(t, d)
	connect(t, d, g)
	g.ring[transmit].Desc(0, memorySize, 1, driver.Next, 0)
	g.ring[transmit].Offer(0)
	g.notify(transmit)
	g.shutdown() // and the device is there for the next guest
	connect(t, d, boot(t, d))
}

// The device answers with a lock of each queue held, and moves with all of them.
func TestMemoryMovesWhileTheGuestSends(t *testing.T) {
	g := boot(t, newDevice(t, nil))
	stray := packet{SrcCID: guestCID, DstCID: 2, SrcPort: 1, DstPort: 2, Type: 1, Op: opData}
	for range 200 {
		g.offer(stray.encode())
		g.shareMemory()
		g.used(transmit)
		g.want(opReset)
	}
}

func TestTransportReset(t *testing.T) {
	d := newDevice(t, nil)
	g := boot(t, d)
	_, r, _ := connect(t, d, g)
	done := make(chan struct{})
	go func() { // ends when the guest has taken the event
		defer close(done)
		d.Reset()
	}()
	head, n := g.used(event)
	if n != 4 {
		t.Errorf("an event of %d bytes, want 4", n)
	}
	g.ring[event].Offer(head)
	<-done
	if got, err := io.ReadAll(r); len(got) > 0 || err != nil {
		t.Errorf("the client got %q, %v, want the end", got, err)
	}
	if s := d.Summary(); !strings.Contains(s, "0 connections open, 1 opened") || !strings.Contains(s, "1 resets") {
		t.Errorf("Summary() = %q", s)
	}
	connect(t, d, g)
}

func TestFrontEndRequestsThatAreWrongFail(t *testing.T) {
	d := newDevice(t, nil)
	g := boot(t, d)
	for name, ask := range map[string]func() []byte{
		"an unknown request":        func() []byte { return g.ask(999, nil) },
		"a short body":              func() []byte { return g.ask(vhostuser.SetVringNum, []byte{1}) },
		"a queue that is not there": func() []byte { return g.ask(vhostuser.SetVringNum, vhostuser.State(3, 16)) },
		"a size of a running queue": func() []byte { return g.ask(vhostuser.SetVringNum, vhostuser.State(0, 32)) },
		"a kick without descriptor": func() []byte { return g.ask(vhostuser.SetVringKick, vhostuser.Uint64(1<<8)) },
		"a region without file":     func() []byte { return g.ask(vhostuser.SetMemTable, numbers(1, 0, 1, 0, 0)) },
		"a region behind its file": func() []byte {
			return g.ask(vhostuser.SetMemTable, numbers(1, 0, memorySize, 0, 1), g.mem.FD)
		},
		"too many regions": func() []byte { return g.ask(vhostuser.SetMemTable, numbers(1<<31)) },
		"configuration behind its end": func() []byte {
			return g.ask(vhostuser.GetConfig, append(vhostuser.State(255, 2), 0, 0, 0, 0, 0, 0))
		},
	} {
		if status := ask(); len(status) != 8 || status[0] != 1 {
			t.Errorf("%s: status %v, want 1", name, status)
		}
	}
	connect(t, d, g)
}

func TestGetConfigTellsTheCID(t *testing.T) {
	g := boot(t, newDevice(t, nil))
	got := g.ask(vhostuser.GetConfig, append(vhostuser.State(0, 8), make([]byte, 4+8)...))
	if len(got) != 20 || got[12] != guestCID {
		t.Errorf("configuration %v, want CID %d", got, guestCID)
	}
}

func TestListenReplacesStaleSocketsOnly(t *testing.T) {
	path := newDevice(t, nil).uds
	if l, err := hybrid.Listen(path); err == nil {
		_ = l.Close()
		t.Error("Listen() of a socket in use = nil, want an error")
	}
	stale := path + ".stale"
	l := listen(t, stale)
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	listen(t, stale)
	if _, err := net.Dial("unix", stale); errors.Is(err, net.ErrClosed) || err != nil {
		t.Errorf("dial %s: %v", stale, err)
	}
}
