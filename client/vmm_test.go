//go:build linux

package client_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// A vmm is a hybrid vsock of a VM in which an agent listens on a Unix socket.
// Its zero pause is running.
type vmm struct {
	tb     testing.TB
	target string

	mu       sync.Mutex
	moved    *sync.Cond // broadcast when a field below changes
	guest    string     // path of the agent's socket
	paused   bool       // nothing goes through, and CONNECT is not answered
	life     int        // connections of an earlier life lead nowhere, and do not end
	accepted int
	conns    map[net.Conn]bool
	closed   bool
	running  sync.WaitGroup
}

func startVMM(tb testing.TB, guest string) *vmm {
	tb.Helper()
	dir, err := os.MkdirTemp("", "vmm")
	if err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(dir, "v.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		tb.Fatal(err)
	}
	v := &vmm{tb: tb, target: "hvsock://" + path + ":1024", guest: guest, conns: make(map[net.Conn]bool)}
	v.moved = sync.NewCond(&v.mu)
	v.running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			v.running.Go(func() { v.serve(conn) })
		}
	})
	tb.Cleanup(func() {
		_ = ln.Close()
		v.change(func() { v.closed = true })
		v.cut()
		v.running.Wait()
		_ = os.RemoveAll(dir)
	})
	return v
}

func (v *vmm) change(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
	v.moved.Broadcast()
}

func (v *vmm) pause()  { v.change(func() { v.paused = true }) }
func (v *vmm) resume() { v.change(func() { v.paused = false }) }

// restore makes the connections lead nowhere: those after it work.
func (v *vmm) restore() { v.change(func() { v.life++ }) }

// boot has later connections reach another agent.
func (v *vmm) boot(guest string) { v.change(func() { v.guest = guest }) }

// cut ends all connections.
func (v *vmm) cut() {
	v.change(func() {
		for c := range v.conns {
			_ = c.Close()
		}
	})
}

func (v *vmm) connections() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.accepted
}

// goes waits until the VM runs, and says whether a connection of that life
// still leads anywhere.
func (v *vmm) goes(life int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for !v.closed && (v.paused || v.life != life) {
		v.moved.Wait()
	}
	return !v.closed
}

func (v *vmm) serve(conn net.Conn) {
	var life int
	var guest string
	v.change(func() {
		v.accepted++
		v.conns[conn] = true
		life, guest = v.life, v.guest
	})
	defer v.end(conn)
	ask := make([]byte, len("CONNECT 1024\n"))
	if _, err := io.ReadFull(conn, ask); err != nil || !v.goes(life) {
		return
	}
	if !strings.HasPrefix(string(ask), "CONNECT ") {
		v.tb.Errorf("the VMM is asked %q", ask)
	}
	agent, err := net.Dial("unix", guest)
	if err != nil {
		return // as a VMM does where nothing listens
	}
	v.change(func() { v.conns[agent] = true })
	defer v.end(agent)
	if _, err := io.WriteString(conn, "OK 1073741824\n"); err != nil {
		return
	}
	v.running.Go(func() {
		v.relay(life, agent, conn)
		_ = agent.Close()
		_ = conn.Close()
	})
	v.relay(life, conn, agent)
}

func (v *vmm) end(conn net.Conn) {
	_ = conn.Close()
	v.change(func() { delete(v.conns, conn) })
}

func (v *vmm) relay(life int, to io.Writer, from io.Reader) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if !v.goes(life) {
			return
		}
		if _, e := to.Write(b[:n]); err != nil || e != nil {
			return
		}
	}
}
