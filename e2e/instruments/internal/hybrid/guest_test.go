//go:build linux

package hybrid_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/driver"
	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/hybrid"
	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/vhostuser"
)

const (
	guestCID = 52
	patience = 10 * time.Second // for what must happen; the machine may be busy

	memorySize = 1 << 20
	ringSize   = 16
	bufferSize = 4096
)

// A device is a Muxer with its two sockets.
type device struct {
	*hybrid.Muxer
	uds, vhost string
}

func newDevice(t *testing.T, change func(*hybrid.Config)) *device {
	t.Helper()
	dir, err := os.MkdirTemp("", "hv") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := &device{uds: filepath.Join(dir, "v"), vhost: filepath.Join(dir, "vu")}
	config := hybrid.Config{
		UDS: d.uds, CID: guestCID, BufAlloc: 64 << 10, ConnectTimeout: patience,
		Logf: t.Logf, Debugf: func(string, ...any) {},
	}
	if change != nil {
		change(&config)
	}
	d.Muxer = hybrid.NewMuxer(config)
	guests, clients := listen(t, d.vhost), listen(t, d.uds)
	done := make(chan struct{})
	go func() { // ends with its listener, and the test waits for that
		defer close(done)
		d.ServeGuests(guests)
	}()
	go d.ServeClients(clients) // ends with its listener
	t.Cleanup(func() {
		_ = clients.Close()
		_ = guests.Close()
		<-done
	})
	return d
}

func listen(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	l, err := hybrid.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// A guest is a vhost-user front end and a vsock driver, which say what a test
// tells them to.
type guest struct {
	t     *testing.T
	front *net.UnixConn
	mem   *driver.Memory
	ring  [3]*driver.Ring
	kick  [3]*os.File
	call  [3]*os.File
}

const (
	receive, transmit, event = 0, 1, 2

	transmitBuffer = memorySize / 2 // where packets to the device are
)

func receiveBuffer(i uint16) int { return memorySize/4 + bufferSize*int(i) }

// boot connects a guest to the device, with buffers on its receive and event queues.
func boot(t *testing.T, d *device) *guest {
	t.Helper()
	front, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: d.vhost, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{t: t, front: front, mem: driver.NewMemory(t, memorySize)}
	t.Cleanup(g.shutdown)
	g.request(vhostuser.SetFeatures, vhostuser.Uint64(1<<32|1<<30)) // version 1, protocol features
	g.shareMemory()
	for i := range g.ring {
		g.ring[i] = driver.NewRing(g.mem, i*(driver.Span(ringSize)+64)&^63, ringSize)
		g.setUp(i)
	}
	for i := range uint16(ringSize) {
		g.ring[receive].Desc(i, receiveBuffer(i), bufferSize, driver.Write, 0)
		g.ring[receive].Offer(i)
	}
	g.notify(receive)
	g.ring[event].Desc(0, transmitBuffer+bufferSize, 8, driver.Write, 0)
	g.ring[event].Offer(0)
	g.notify(event)
	return g
}

// shareMemory gives the device the guest's memory, again if it has it already.
func (g *guest) shareMemory() {
	g.t.Helper()
	r := g.mem.Region()
	g.request(vhostuser.SetMemTable, numbers(1, r.Guest, r.Size, r.User, r.Offset), g.mem.FD)
}

func (g *guest) setUp(i int) {
	g.t.Helper()
	kick, kickWriter, err := os.Pipe()
	if err != nil {
		g.t.Fatal(err)
	}
	callReader, call, err := os.Pipe()
	if err != nil {
		g.t.Fatal(err)
	}
	defer kick.Close()
	defer call.Close()
	g.kick[i], g.call[i] = kickWriter, callReader
	addrs := g.ring[i].Addresses()
	g.request(vhostuser.SetVringNum, vhostuser.State(uint32(i), ringSize))
	g.request(vhostuser.SetVringBase, vhostuser.State(uint32(i), 0))
	g.request(vhostuser.SetVringAddr, append(vhostuser.State(uint32(i), 0), numbers(addrs.Desc, addrs.Used, addrs.Avail, 0)...))
	g.request(vhostuser.SetVringCall, vhostuser.Uint64(uint64(i)), int(call.Fd()))
	g.request(vhostuser.SetVringKick, vhostuser.Uint64(uint64(i)), int(kick.Fd()))
	g.request(vhostuser.SetVringEnable, vhostuser.State(uint32(i), 1))
}

// shutdown takes the guest away from the device.
func (g *guest) shutdown() {
	_ = g.front.Close()
	for i := range g.kick {
		_ = g.kick[i].Close()
		_ = g.call[i].Close()
	}
}

func numbers(values ...uint64) (b []byte) {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// request sends one request, waits until it is done, and fails the test if it is not.
func (g *guest) request(request uint32, body []byte, fds ...int) {
	g.t.Helper()
	if status := binary.LittleEndian.Uint64(g.ask(request, body, fds...)); status != 0 {
		g.t.Fatalf("vhost-user request %d has failed", request)
	}
}

// ask sends one request, and returns its answer.
func (g *guest) ask(request uint32, body []byte, fds ...int) []byte {
	g.t.Helper()
	const version, wantsAck = 1, 1 << 3
	b := binary.LittleEndian.AppendUint32(nil, request)
	b = binary.LittleEndian.AppendUint32(b, version|wantsAck)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_ = g.front.SetDeadline(time.Now().Add(patience))
	if _, _, err := g.front.WriteMsgUnix(append(b, body...), rights, nil); err != nil {
		g.t.Fatal(err)
	}
	m, err := vhostuser.Read(g.front)
	if err != nil || m.Request != request {
		g.t.Fatalf("answer to request %d: %+v, %v", request, m, err)
	}
	return m.Body
}

func (g *guest) notify(queue int) {
	g.t.Helper()
	if _, err := g.kick[queue].Write([]byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		g.t.Fatal(err)
	}
}

// used returns the next buffer that the device gives back on a queue.
func (g *guest) used(queue int) (head uint16, n uint32) {
	g.t.Helper()
	_ = g.call[queue].SetReadDeadline(time.Now().Add(patience))
	for {
		if head, n, ok := g.ring[queue].Used(); ok {
			return head, n
		}
		var interrupt [8]byte
		if _, err := g.call[queue].Read(interrupt[:]); err != nil {
			g.t.Fatalf("no buffer comes back on queue %d: %v", queue, err)
		}
	}
}

// send sends a packet to the host.
func (g *guest) send(p packet, data string) {
	g.t.Helper()
	p.SrcCID, p.DstCID, p.Type = guestCID, 2, 1
	p.Len, p.BufAlloc = uint32(len(data)), 64<<10
	g.sendRaw(append(p.encode(), data...))
}

// sendRaw sends bytes as a packet, and waits until the device has taken them.
func (g *guest) sendRaw(b []byte) {
	g.t.Helper()
	g.offer(b)
	g.used(transmit)
}

// offer gives the device bytes as a packet.
func (g *guest) offer(b []byte) {
	g.t.Helper()
	copy(g.mem.Bytes[transmitBuffer:], b)
	g.ring[transmit].Desc(0, transmitBuffer, uint32(len(b)), 0, 0)
	g.ring[transmit].Offer(0)
	g.notify(transmit)
}

// receive returns the next packet to the guest.
func (g *guest) receive() (p packet, data string) {
	g.t.Helper()
	head, n := g.used(receive)
	b := bytes.Clone(g.mem.Bytes[receiveBuffer(head):][:n])
	if err := binary.Read(bytes.NewReader(b), binary.LittleEndian, &p); err != nil {
		g.t.Fatalf("a packet of %d bytes: %v", n, err)
	}
	g.ring[receive].Offer(head)
	g.notify(receive)
	return p, string(b[packetSize:])
}

// want returns the next packet, which must have this operation. Credit updates
// are left out.
func (g *guest) want(op uint16) (p packet, data string) {
	g.t.Helper()
	for p, data = g.receive(); p.Op == opCreditUpdate && op != opCreditUpdate; {
		p, data = g.receive()
	}
	if p.Op != op || p.SrcCID != 2 || p.DstCID != guestCID || p.Type != 1 {
		g.t.Fatalf("got %+v, want operation %d", p, op)
	}
	return p, data
}

// answer returns the packet that the guest sends on the connection of p.
func answer(p packet, op uint16) packet {
	return packet{SrcPort: p.DstPort, DstPort: p.SrcPort, Op: op}
}
