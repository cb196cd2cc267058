//go:build linux

package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/loadtest"
)

// smallSession runs a command with all three streams over a connection, which is
// then closed.
func smallSession(ctx context.Context, path string, in, out *fault) (stdout, stderr string, err error) {
	c, err := client.DialWith(ctx, dialFaulty(path, in, out))
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	return smallCommand(ctx, c, 0)
}

func smallCommand(ctx context.Context, c *client.Client, waitDelay time.Duration) (stdout, stderr string, err error) {
	var o, e bytes.Buffer
	cmd := c.CommandContext(ctx, "sh", "-c", `read line; echo "$line"; echo error >&2; exit 7`)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = strings.NewReader("hello\n"), &o, &e, waitDelay
	err = cmd.Run()
	return o.String(), e.String(), err
}

// exact says whether the outcome is that of a session without faults.
func exact(stdout, stderr string, err error) bool {
	exit, ok := errors.AsType[*client.ExitError](err)
	return ok && exit.ExitCode() == 7 && stdout == "hello\n" && stderr == "error\n"
}

// owned says whether err admits that something was lost.
func owned(err error) bool {
	_, ended := errors.AsType[*client.ExitError](err)
	return err != nil && !ended && errors.Is(err, client.ErrLost)
}

// lengths returns how many bytes a session has in each direction, and some more:
// pids and the like differ.
func lengths(t *testing.T, path string) (in, out int64) {
	t.Helper()
	i, o := &fault{}, &fault{}
	if stdout, stderr, err := smallSession(t.Context(), path, i, o); !exact(stdout, stderr, err) {
		t.Fatalf("session without a fault: %q, %q, %v, want it complete", stdout, stderr, err)
	}
	in, _ = i.count()
	out, _ = o.count()
	const more = 40
	return in + more, out + more
}

// everywhere calls story for each offset of a session at which a fault may
// strike, and checks that nothing stays behind. It returns how often it has.
func everywhere(t *testing.T, story func(path, where string, at, in, out func(*fault) *fault)) {
	t.Helper()
	a := agenttest.Start(t)
	inLength, outLength := lengths(t, a.Path)
	before := resources(t)
	stride := int64(1)
	if testing.Short() {
		stride = 7
	}
	sessions := 0
	directions(t, func(name string, in, out func(*fault) *fault) {
		length := inLength
		if strings.HasPrefix(name, "to") {
			length = outLength
		}
		slots := make(chan struct{}, 4)
		var running sync.WaitGroup
		for offset := int64(1); offset <= length; offset += stride {
			slots <- struct{}{}
			sessions++
			running.Go(func() {
				defer func() { <-slots }()
				story(a.Path, fmt.Sprintf("byte %d %s", offset, name), func(f *fault) *fault { f.at = offset; return f }, in, out)
			})
		}
		running.Wait()
	})
	t.Logf("%d sessions, of %d bytes from the guest and %d to it", sessions, inLength, outLength)
	defer func() {
		if t.Failed() {
			children, _ := exec.Command("ps", "-o", "pid,stat,etime,wchan:32,args", "--ppid", strconv.Itoa(os.Getpid())).Output()
			t.Logf("children:\n%s", children)
		}
	}()
	agenttest.Eventually(t, "no process is left", func() bool {
		return errors.Is(unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil), unix.ECHILD)
	})
	var now resourceCount
	defer func() {
		if t.Failed() {
			t.Logf("before: %+v, now: %+v", before, now)
		}
	}()
	agenttest.Eventually(t, "descriptors and goroutines are what they were", func() bool {
		now = resources(t)
		return now.fds <= before.fds+mostCgroups && now.goroutines <= before.goroutines
	})
	if stdout, stderr, err := smallSession(t.Context(), a.Path, &fault{}, &fault{}); !exact(stdout, stderr, err) {
		t.Errorf("a new connection: %q, %q, %v", stdout, stderr, err)
	}
}

// mostCgroups is how many more descriptors the agent may have: of 64 cgroups
// that it keeps to use them again, three each.
const mostCgroups = 3 * 64

type resourceCount struct{ fds, goroutines int }

// resources counts what is in use: the net package keeps the pipes of splice(2) until a
// collection.
func resources(t *testing.T) resourceCount {
	t.Helper()
	runtime.GC()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return resourceCount{len(fds), runtime.NumGoroutine()}
}

func TestConnectionCutAtAnyByteIsExactOrAnError(t *testing.T) {
	loadtest.Heavy(t)
	for name, strike := range map[string]func(*faultConn) error{"hung up": hangUp, "reset": reset} {
		t.Run(name, func(t *testing.T) {
			var lost atomic.Int64
			defer func() { t.Logf("%d ended in an error", lost.Load()) }()
			everywhere(t, func(path, where string, at, in, out func(*fault) *fault) {
				f := at(&fault{strike: strike})
				stdout, stderr, err := smallSession(patiently(t), path, in(f), out(f))
				_, struck := f.count()
				switch {
				case exact(stdout, stderr, err):
				case struck && owned(err):
					lost.Add(1)
				default:
					t.Errorf("cut at %s (%t): %q, %q, %v (%T)", where, struck, stdout, stderr, err, err)
				}
			})
		})
	}
}

func TestConnectionStalledAtAnyByteLosesNothing(t *testing.T) {
	loadtest.Heavy(t)
	everywhere(t, func(path, where string, at, in, out func(*fault) *fault) {
		s := newStall()
		f := at(&fault{strike: s.strike})
		done := make(chan struct{})
		go func() { // ends with the session, or releases it
			select {
			case <-s.begun:
			case <-done:
			}
			close(s.released)
		}()
		stdout, stderr, err := smallSession(patiently(t), path, in(f), out(f))
		close(done)
		if !exact(stdout, stderr, err) {
			t.Errorf("stalled at %s: %q, %q, %v", where, stdout, stderr, err)
		}
	})
}

// The connection is stalled for as long as the caller waits, which is not for
// ever, and good again after that.
func TestCancelledCallsEndOnStalledConnections(t *testing.T) {
	loadtest.Heavy(t)
	everywhere(t, func(path, where string, at, in, out func(*fault) *fault) {
		s := newStall()
		f := at(&fault{strike: s.strike})
		ctx, cancel := context.WithCancel(patiently(t))
		defer cancel()
		done := make(chan struct{})
		go func() { // ends with the session
			select {
			case <-s.begun:
				cancel()
			case <-done:
			}
		}()
		c, err := client.DialWith(ctx, dialFaulty(path, in(f), out(f)))
		if err != nil {
			close(done)
			close(s.released)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("stalled at %s: %v", where, err)
			}
			return
		}
		stdout, stderr, err := smallCommand(ctx, c, 1)
		if !exact(stdout, stderr, err) && !errors.Is(err, context.Canceled) && !errors.Is(err, client.ErrWaitDelay) {
			t.Errorf("stalled at %s: %q, %q, %v (%T)", where, stdout, stderr, err, err)
		}
		close(done)
		close(s.released)
		if stdout, stderr, err := smallCommand(patiently(t), c, 0); !exact(stdout, stderr, err) {
			t.Errorf("after a stall at %s: %q, %q, %v", where, stdout, stderr, err)
		}
		_ = c.Close()
	})
}

func TestBytesThatComeSinglyOrLateLoseNothing(t *testing.T) {
	a := agenttest.Start(t)
	for name, f := range map[string]func() *fault{
		"singly": func() *fault { return &fault{step: 1} },
		"late":   func() *fault { return &fault{jitter: true} },
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				if stdout, stderr, err := smallSession(patiently(t), a.Path, f(), f()); !exact(stdout, stderr, err) {
					t.Errorf("session over a slow connection: %q, %q, %v, want it complete", stdout, stderr, err)
				}
			}
		})
	}
}
