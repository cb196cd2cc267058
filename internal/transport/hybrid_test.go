//go:build unix

package transport_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

// A vmm is the host's end of a hybrid vsock: it treats one connection as its
// script says.
type vmm struct {
	target transport.Target
	done   chan struct{} // closed when the script has ended
}

// startVMM runs script with the first connection, which ends with it, unless
// the script keeps it for the test's end.
func startVMM(t *testing.T, script func(conn net.Conn)) *vmm {
	t.Helper()
	path := filepath.Join(socketDir(t), "vm.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	v := &vmm{target: hybridTarget(path, 1024), done: make(chan struct{})}
	go v.serve(ln, script) // the end of the test closes ln, and waits
	t.Cleanup(func() {
		_ = ln.Close()
		<-v.done
	})
	return v
}

func (v *vmm) serve(ln net.Listener, script func(net.Conn)) {
	defer close(v.done)
	conn, err := ln.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	// The test ends in any case.
	_ = conn.SetDeadline(time.Now().Add(patience))
	script(conn)
}

// connectLine reads the line that asks for a port. It reports an error for another line.
func connectLine(t *testing.T, conn net.Conn) {
	t.Helper()
	line, err := bufio.NewReader(io.LimitReader(conn, int64(len("CONNECT 1024\n")))).ReadString('\n')
	if line != "CONNECT 1024\n" || err != nil {
		t.Errorf("the VMM is asked %q, %v", line, err)
	}
}

func reply(t *testing.T, conn net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(conn, s); err != nil {
		t.Errorf("reply %q: %v", s, err)
	}
}

func drain(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// dialVMM dials and gives the connection to the test's end.
func dialVMM(ctx context.Context, t *testing.T, v *vmm) net.Conn {
	t.Helper()
	conn, err := transport.Dial(ctx, v.target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// refused dials, in vain.
func refused(ctx context.Context, t *testing.T, v *vmm) error {
	t.Helper()
	conn, err := transport.Dial(ctx, v.target)
	if err == nil {
		_ = conn.Close()
		t.Fatal("connected")
	}
	if conn != nil {
		t.Errorf("a connection besides %v", err)
	}
	return err
}

func TestDialHybridTakesAnOKHoweverItArrives(t *testing.T) {
	for name, answer := range map[string][]string{
		"in one piece":  {"OK 1073741824\n"},
		"byte by byte":  strings.Split("OK 1073741824\n", ""),
		"in halves":     {"OK 10737", "41824\n"},
		"smallest":      {"OK 0\n"},
		"largest":       {"OK 4294967295\n"},
		"with a return": {"OK 5\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			v := startVMM(t, func(conn net.Conn) {
				connectLine(t, conn)
				for _, piece := range answer {
					reply(t, conn, piece)
				}
				drain(conn)
			})
			conn := dialVMM(patiently(t), t, v)
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A guest may speak as soon as the VMM has connected it.
func TestDialHybridLosesNoByteBehindTheOK(t *testing.T) {
	const behind = "\x00\x01OK 5\nand so on"
	for name, answer := range map[string][]string{
		"in one piece":  {"OK 1024\n" + behind},
		"byte by byte":  strings.Split("OK 1024\n"+behind, ""),
		"line, then it": {"OK 1024\n", behind},
		"cut elsewhere": {"OK 10", "24\n" + behind[:3], behind[3:]},
	} {
		t.Run(name, func(t *testing.T) {
			v := startVMM(t, func(conn net.Conn) {
				connectLine(t, conn)
				for _, piece := range answer {
					reply(t, conn, piece)
				}
			})
			got, err := io.ReadAll(dialVMM(patiently(t), t, v))
			if string(got) != behind || err != nil {
				t.Errorf("the guest said %q, read %q, %v", behind, got, err)
			}
		})
	}
}

// pipeVMM returns the two ends of a connection. A Read takes from one Write only.
func pipeVMM(t *testing.T) (host, guest net.Conn) {
	t.Helper()
	host, guest = net.Pipe()
	t.Cleanup(func() { _, _ = host.Close(), guest.Close() })
	_ = guest.SetDeadline(time.Now().Add(patience))
	return host, guest
}

// VMMs are known to drop what comes behind CONNECT before they have answered,
// and to take a CONNECT in pieces for a bad one.
func TestDialHybridSendsConnectInOneWrite(t *testing.T) {
	host, guest := pipeVMM(t)
	result := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { result <- transport.ConnectHybrid(host, 4294967294) })
	defer wg.Wait()

	buf := make([]byte, 1<<10)
	n, err := guest.Read(buf)
	if got := string(buf[:n]); got != "CONNECT 4294967294\n" || err != nil {
		t.Errorf("the first write is %q, %v", got, err)
	}
	// A write of the other side instead of its reads would block this one.
	if _, err := io.WriteString(guest, "OK 1\n"); err != nil {
		t.Error(err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
	_ = host.Close()
	if rest, _ := io.ReadAll(guest); len(rest) != 0 {
		t.Errorf("behind CONNECT comes %q", rest)
	}
}

func TestDialHybridConnectsBothDirections(t *testing.T) {
	v := startVMM(t, func(conn net.Conn) {
		connectLine(t, conn)
		reply(t, conn, "OK 1024\n")
		_, _ = io.Copy(conn, conn)
	})
	conn := dialVMM(patiently(t), t, v)
	echo(t, conn, "hello")
}

// echo says something to a peer that says it again.
func echo(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != text {
		t.Fatalf("echo of %q is %q, %v", text, got, err)
	}
}

func TestDialHybridConnOutlivesItsContext(t *testing.T) {
	v := startVMM(t, func(conn net.Conn) {
		connectLine(t, conn)
		reply(t, conn, "OK 1024\n")
		_, _ = io.Copy(conn, conn)
	})
	ctx, cancel := context.WithCancel(t.Context())
	conn := dialVMM(ctx, t, v)
	read := make(chan error, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { // ends with the echo
		_, err := io.ReadFull(conn, make([]byte, 1))
		read <- err
	})
	cancel()
	if _, err := io.WriteString(conn, "x"); err != nil {
		t.Error(err)
	}
	if err := <-read; err != nil {
		t.Errorf("a read in progress: %v", err)
	}
	echo(t, conn, "y")
}

func TestDialHybridEndsWithItsContext(t *testing.T) {
	for name, before := range map[string]struct{ reads, answer string }{
		"that never answers":  {reads: "CONNECT 1024\n"},
		"that never reads":    {},
		"that stops half-way": {reads: "CONNECT 1024\n", answer: "OK 10"},
	} {
		stuck := func(then func()) *vmm {
			return startVMM(t, func(conn net.Conn) {
				_, _ = io.ReadFull(conn, make([]byte, len(before.reads)))
				reply(t, conn, before.answer)
				then()
				drain(conn) // until the host hangs up
			})
		}
		t.Run("deadline of a VMM "+name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			endsWith(ctx, t, stuck(func() {}), context.DeadlineExceeded)
		})
		t.Run("cancel of a VMM "+name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			endsWith(ctx, t, stuck(cancel), context.Canceled)
		})
	}
}

func endsWith(ctx context.Context, t *testing.T, v *vmm, want error) {
	t.Helper()
	if err := refused(ctx, t, v); !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
	<-v.done // so the host has hung up
}

func TestDialHybridFailsIfTheContextHasEnded(t *testing.T) {
	v := startVMM(t, func(net.Conn) { t.Error("connected to the VMM") })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := refused(ctx, t, v); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestDialHybridSaysWhatTheVMMAnsweredInstead(t *testing.T) {
	for answer, want := range map[string]string{
		"NO\n":                              `CONNECT 1024: the VMM answered "NO" instead of OK`,
		"\n":                                `CONNECT 1024: the VMM answered "" instead of OK`,
		"OK\n":                              `CONNECT 1024: the VMM answered "OK" instead of OK`,
		"OK \n":                             `CONNECT 1024: the VMM answered "OK " instead of OK`,
		"OK x\n":                            `CONNECT 1024: the VMM answered "OK x" instead of OK`,
		"OK 4294967296\n":                   `CONNECT 1024: the VMM answered "OK 4294967296" instead of OK`,
		"ok 5\n":                            `CONNECT 1024: the VMM answered "ok 5" instead of OK`,
		"HTTP/1.1 400 Bad Request\r":        `CONNECT 1024: the VMM answered "HTTP/1.1 400 Bad Request\r" and closed the connection`,
		"OK 10":                             `CONNECT 1024: the VMM answered "OK 10" and closed the connection`,
		"ERROR " + strings.Repeat("x", 100): `CONNECT 1024: the VMM answered "ERROR ` + strings.Repeat("x", 58) + `"… instead of OK`,
		`{"type":"error","message":"` + strings.Repeat("x", 100): `CONNECT 1024: an agent answered, not a VMM: use unix:// instead of hvsock://`,
	} {
		v := startVMM(t, func(conn net.Conn) {
			connectLine(t, conn)
			_, _ = io.WriteString(conn, answer)
		})
		if err := refused(patiently(t), t, v); err.Error() != want {
			t.Errorf("%q: %v, want\n%s", answer, err, want)
		}
	}
}

func TestDialHybridHangsUpOnAnEndlessAnswer(t *testing.T) {
	sent := make(chan int64, 1)
	v := startVMM(t, func(conn net.Conn) {
		connectLine(t, conn)
		n, _ := io.Copy(conn, endless{})
		sent <- n
	})
	err := refused(patiently(t), t, v)
	if len(err.Error()) > 200 || errors.Is(err, transport.ErrNoAnswer) {
		t.Error(err)
	}
	t.Logf("%v, after %d bytes", err, <-sent)
}

// endless is a Reader of many bytes without a newline.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// A VMM hangs up if nothing listens in the guest. The host gets different errors,
// depending on how far the VMM and the host have come.
func TestDialHybridErrNoAnswerIfTheVMMHangsUp(t *testing.T) {
	v := startVMM(t, func(conn net.Conn) { connectLine(t, conn) })
	if err := refused(patiently(t), t, v); !errors.Is(err, transport.ErrNoAnswer) {
		t.Errorf("after it has read CONNECT: %v", err)
	}

	v = startVMM(t, func(conn net.Conn) { // one byte left unread: ECONNRESET
		_, _ = io.ReadFull(conn, make([]byte, len("CONNECT 1024")))
	})
	if err := refused(patiently(t), t, v); !errors.Is(err, transport.ErrNoAnswer) {
		t.Errorf("before it has read all of CONNECT: %v", err)
	}

	v = startVMM(t, func(net.Conn) {})
	conn, err := net.Dial("unix", v.target.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	<-v.done // EPIPE
	if err := transport.ConnectHybrid(conn, 1024); !errors.Is(err, transport.ErrNoAnswer) {
		t.Errorf("before CONNECT is written: %v", err)
	}
}

func TestDialHybridReportsAMissingVMM(t *testing.T) {
	v := &vmm{target: hybridTarget(filepath.Join(socketDir(t), "nosuch.sock"), 1024)}
	err := refused(patiently(t), t, v)
	if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "dial" || errors.Is(err, transport.ErrNoAnswer) {
		t.Error(err)
	}
}
