//go:build linux

package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
)

// A lateVMM is a path at which a VMM is starting.
type lateVMM struct {
	t      *testing.T
	path   string
	accept atomic.Pointer[func(net.Conn)] // what it does with a connection
}

func (v *lateVMM) url() string { return "hvsock://" + v.path + ":1024" }

// leave leaves a socket that nobody listens on, as a VMM does that was killed.
func (v *lateVMM) leave() {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: v.path, Net: "unix"})
	if err != nil {
		v.t.Error(err)
		return
	}
	ln.SetUnlinkOnClose(false)
	_ = ln.Close()
}

func (v *lateVMM) listen() {
	_ = os.Remove(v.path)
	ln, err := net.Listen("unix", v.path)
	if err != nil {
		v.t.Error(err)
		return
	}
	v.t.Cleanup(func() { _ = ln.Close() })
	go func() { // ends with ln
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer conn.Close()
				(*v.accept.Load())(conn)
			}()
		}
	}()
}

func (v *lateVMM) does(accept func(net.Conn)) { v.accept.Store(&accept) }

// answers reads CONNECT and answers it.
func answers(text string, then func(net.Conn)) func(net.Conn) {
	return func(conn net.Conn) {
		if _, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); err != nil {
			return
		}
		if _, err := io.WriteString(conn, text); err == nil && then != nil {
			then(conn)
		}
	}
}

func hold(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func toAgent(path string) func(net.Conn) {
	return func(conn net.Conn) {
		agent, err := net.Dial("unix", path)
		if err != nil {
			return
		}
		defer agent.Close()
		go func() { _, _ = io.Copy(agent, conn) }() // ends with conn
		_, _ = io.Copy(conn, agent)
	}
}

func TestWaitReadyOutlastsAVMThatStarts(t *testing.T) {
	for name, wait := range map[string]func(ctx context.Context, target string, waiting func(error)) (*client.Client, error){
		"WaitReady": func(ctx context.Context, target string, waiting func(error)) (*client.Client, error) {
			waiting(nil)
			c, err := client.WaitReadyWith(ctx, target, client.WaitOptions{AttemptTimeout: 500 * time.Millisecond, Waiting: waiting})
			if err == nil {
				t.Cleanup(func() { _ = c.Close() })
			}
			return c, err
		},
		"pool": func(ctx context.Context, target string, waiting func(error)) (*client.Client, error) {
			p := newPool(t, client.PoolConfig{
				Wait: true, DialTimeout: 500 * time.Millisecond, MinBackoff: 5 * time.Millisecond, MaxBackoff: 20 * time.Millisecond,
				Dial: func(ctx context.Context, name string) (net.Conn, error) {
					waiting(nil) // what the attempt before met is over
					target, err := client.ParseTarget(name)
					if err != nil {
						return nil, err
					}
					return target.Dial(ctx)
				},
			})
			return p.Get(ctx, target)
		},
	} {
		t.Run(name, func(t *testing.T) {
			agent := agenttest.Start(t)
			v := &lateVMM{t: t, path: filepath.Join(t.TempDir(), "v.sock")}
			stages := []struct {
				begin func()
				want  string // of the attempt that meets it
			}{
				{func() {}, "no such file or directory"},
				{v.leave, "connection refused"},
				{func() { v.does(func(net.Conn) {}); v.listen() }, "the VMM closed the connection"},
				{func() { v.does(answers("no\n", nil)) }, `the VMM answered "no" instead of OK`},
				{func() { v.does(answers("OK 1\n", nil)) }, "the agent closed the connection before its hello"},
				{func() { v.does(answers("OK 1\n", hold)) }, "no answer within 500ms"},
				{func() { v.does(answers("OK 1\n", says("limit"))) }, "full"},
				{func() { v.does(answers("OK 1\n", says("shutting_down"))) }, "full"},
				{func() { v.does(answers("OK 1\n", toAgent(agent.Path))) }, ""},
			}
			at := -1
			c, err := wait(patiently(t), v.url(), func(err error) {
				if err != nil && !strings.Contains(err.Error(), stages[at].want) {
					t.Errorf("stage %d: %v, want %q", at, err, stages[at].want)
				}
				if at+1 < len(stages) {
					at++
					stages[at].begin()
				}
			})
			if err != nil {
				t.Fatalf("stage %d: %v", at, err)
			}
			if at != len(stages)-1 {
				t.Errorf("ready at stage %d of %d", at, len(stages)-1)
			}
			if out, err := c.Command("echo", "hello").Output(); err != nil || string(out) != "hello\n" {
				t.Errorf("Output = %q, %v, want %q", out, err, "hello\n")
			}
		})
	}
}

// says answers the preface as an agent that takes no connection.
func says(kind string) func(net.Conn) {
	return func(conn net.Conn) {
		fmt.Fprintf(conn, "{\"type\":\"error\",\"kind\":%q,\"message\":\"full\"}\n", kind)
		hold(conn)
	}
}

// Waiting does not help.
func TestWaitReadyGivesUp(t *testing.T) {
	for name, test := range map[string]struct {
		accept func(net.Conn)
		want   string
	}{
		"another program": {answers("OK 1\n", func(conn net.Conn) { _, _ = io.WriteString(conn, "SSH-2.0-x\r\n"); hold(conn) }), "not a cocoon-agent"},
		"another host":    {answers("OK 1\n", says("permission_denied")), "full"},
		"no VMM":          {func(conn net.Conn) { says("limit")(conn) }, "use unix:// instead of hvsock://"},
	} {
		t.Run(name, func(t *testing.T) {
			v := &lateVMM{t: t, path: filepath.Join(t.TempDir(), "v.sock")}
			v.does(test.accept)
			v.listen()
			attempts := 0
			_, err := client.WaitReadyWith(patiently(t), v.url(), client.WaitOptions{Waiting: func(error) { attempts++ }})
			if _, ok := errors.AsType[*client.DialError](err); !ok || !strings.Contains(err.Error(), test.want) || attempts > 0 {
				t.Errorf("%v after %d failed attempts, want a DialError with %q after the first", err, attempts, test.want)
			}
		})
	}
	if _, err := client.WaitReady(t.Context(), "tcp://x"); err == nil || !strings.Contains(err.Error(), "unknown scheme") {
		t.Errorf("%v, want an unknown scheme", err)
	}
}

func TestWaitReadyEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := client.WaitReadyWith(ctx, "unix://"+path, client.WaitOptions{Waiting: func(error) { cancel() }})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "last attempt: ") {
		t.Errorf("%v, want context canceled and the last attempt's", err)
	}
}
