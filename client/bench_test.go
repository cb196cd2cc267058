//go:build linux

package client_test

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
)

// BenchmarkExec is a whole exec on a warm connection, procs at once. Client and
// agent are one process: its allocations are those of both, and so is its
// profile (make profile).
func BenchmarkExec(b *testing.B) {
	for _, procs := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("transport=unix/procs=%d", procs), func(b *testing.B) {
			c, _ := dial(b)
			b.ReportAllocs()
			atOnce(b, procs, func() error { return execTrue(c) })
		})
	}
}

// atOnce calls f b.N times, procs at once.
func atOnce(b *testing.B, procs int, f func() error) {
	b.Helper()
	tickets := make(chan struct{}, procs)
	failed := make(chan error, procs)
	for range procs {
		go func() { // ends with the tickets
			var err error
			for range tickets {
				if e := f(); e != nil {
					err = e
				}
			}
			failed <- err
		}()
	}
	for b.Loop() {
		tickets <- struct{}{}
	}
	close(tickets)
	for range procs {
		if err := <-failed; err != nil {
			b.Fatal(err)
		}
	}
}

func execTrue(c *client.Client) error {
	var stdout, stderr bytes.Buffer
	cmd := c.Command("/bin/true")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return cmd.Run()
}

// BenchmarkOutlive is an exec of each kind, and one with a key.
func BenchmarkOutlive(b *testing.B) {
	for _, kind := range outlives {
		b.Run("kind="+kind.name, func(b *testing.B) {
			c, _ := dial(b)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				cmd := c.Command("/bin/true")
				var stdout, stderr bytes.Buffer
				cmd.Stdout, cmd.Stderr = &stdout, &stderr
				if cmd.Outlive = kind.outlive; kind.name == "keyed" {
					cmd.Outlive.Key = fmt.Sprint(i)
				}
				if err := cmd.Run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

var outlives = []struct {
	name    string
	outlive client.Outlive
}{
	{"plain", client.Outlive{}},
	{"keyed", client.Outlive{}},
	{"detached", client.Outlive{Detach: true}},
	{"resumed", client.Outlive{Resume: true}},
}

// BenchmarkStdout carries the output of one command to its end.
func BenchmarkStdout(b *testing.B) {
	for _, kind := range outlives {
		b.Run("kind="+kind.name, func(b *testing.B) { carryStdout(b, kind.outlive) })
	}
}

func carryStdout(b *testing.B, o client.Outlive) {
	b.Helper()
	const size = 16 << 20
	c, _ := dial(b)
	if o.Detach {
		o.Ring = size // the command is faster than its reader, and does not wait
	}
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		var got discard
		cmd := c.Command("/bin/dd", "if=/dev/zero", "bs=64k", fmt.Sprintf("count=%d", size>>16), "status=none")
		cmd.Stdout, cmd.Outlive = &got, o
		if err := cmd.Run(); err != nil || got != size {
			b.Fatalf("%d bytes, %v", got, err)
		}
	}
}

// BenchmarkGuestConnection carries bytes over one connection into the guest, and
// over one without an agent in between.
func BenchmarkGuestConnection(b *testing.B) {
	for _, dialer := range []string{"agent", "none"} {
		for _, way := range []string{"to", "from"} {
			b.Run(fmt.Sprintf("through=%s/way=%s", dialer, way), func(b *testing.B) { carry(b, dialer, way) })
		}
	}
}

func carry(b *testing.B, dialer, way string) {
	b.Helper()
	const size = 16 << 20
	s := serve(b, "unix", func(guest halfCloser) {
		if way == "to" {
			_, _ = io.Copy(io.Discard, struct{ io.Reader }{guest})
			return
		}
		_, _ = io.CopyN(guest, endless{}, size)
	})
	c, _ := dial(b)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		var host halfCloser
		if dialer == "agent" {
			host = dialGuest(b, c, s)
		} else {
			nc, err := net.Dial("unix", s.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			host = nc.(halfCloser)
		}
		var n int64
		var err error
		if way == "to" {
			n, err = io.CopyN(host, endless{}, size)
		} else {
			n, err = io.CopyBuffer(io.Discard, struct{ io.Reader }{host}, make([]byte, 64<<10))
		}
		if n != size || err != nil {
			b.Fatalf("%d bytes, %v", n, err)
		}
		_ = host.CloseWrite()
		_, _ = io.Copy(io.Discard, host)
		_ = host.Close()
	}
}

type discard int

func (d *discard) Write(p []byte) (int, error) {
	*d += discard(len(p))
	return len(p), nil
}

// Of both sides: 253 were measured.
func TestAllocationsOfExec(t *testing.T) {
	const most = 280
	c, _ := dial(t)
	least := math.Inf(1)
	for range 10 { // a start of more than 10 ms, on a busy machine, allocates more
		least = min(least, testing.AllocsPerRun(5, func() {
			if err := execTrue(c); err != nil {
				t.Fatal(err)
			}
		}))
	}
	if least > most {
		t.Errorf("%.0f allocations, want at most %d", least, most)
	}
}
