package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

// The connection is cut at random bytes, too.
func TestUpgradeLosesNoOutput(t *testing.T) {
	u := newUpgradable(t)
	lines, upgrades, cuts := upgradeSize(100_000, 1_000_000), upgradeSize(3, 10), upgradeSize(20, 200)
	link := &cutter{left: cuts}
	pool := client.NewPool(client.PoolConfig{Dial: link.dial, MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond})
	defer pool.Close()
	c, err := pool.Get(t.Context(), u.target)
	if err != nil {
		t.Fatal(err)
	}
	cmd := c.Command("sh", "-c", fmt.Sprintf("seq %d; exit 7", lines))
	cmd.Outlive = client.Outlive{Resume: true, Ring: 64 << 10}
	at := &stages{every: len(numbers(lines)) / (upgrades + 1), reached: make(chan struct{})}
	cmd.Stdout = at
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range upgrades {
		<-at.reached
		if _, err := u.upgrade(t, self(t), false); err != nil {
			t.Fatalf("upgrade: %v\n%s", err, u.Log)
		}
	}
	go func() { // ends with the reader
		for range at.reached {
		}
	}()
	exit, ok := errors.AsType[*client.ExitError](cmd.Wait())
	if !ok || exit.ExitCode() != 7 || at.String() != numbers(lines) {
		t.Errorf("%v, %d bytes of output, want exit status 7 and %d bytes", exit, at.Len(), len(numbers(lines)))
	}
	close(at.reached)
	if link.left > 0 {
		t.Errorf("%d cuts of %d have not happened", link.left, cuts)
	}
}

// A cutter makes connections. The first ones end after some bytes.
type cutter struct {
	mu   sync.Mutex
	left int // how many will
}

func (c *cutter) dial(ctx context.Context, target string) (net.Conn, error) {
	to, err := client.ParseTarget(target)
	if err != nil {
		return nil, err
	}
	nc, err := to.Dial(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || c.left == 0 {
		return nc, err
	}
	c.left--
	return &cutConn{Conn: nc, left: 1 + rand.IntN(30_000)}, nil
}

// A cutConn is lost once it has carried so many bytes to the host.
type cutConn struct {
	net.Conn
	left int
}

func (c *cutConn) Read(p []byte) (int, error) {
	if c.left == 0 {
		_ = c.Close()
		return 0, io.EOF
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// numbers is the output of seq(1).
func numbers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, i+1)
	}
	return b.String()
}

// stages is a buffer that waits, each time it has got so many bytes more, for somebody to look.
type stages struct {
	bytes.Buffer
	every, next int
	reached     chan struct{}
}

func (s *stages) Write(p []byte) (int, error) {
	n, err := s.Buffer.Write(p)
	for s.Len() > s.next+s.every {
		s.next += s.every
		s.reached <- struct{}{}
	}
	return n, err
}
