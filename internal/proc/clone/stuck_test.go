//go:build linux

package clone_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/hangtest"
	"github.com/cocoonstack/cocoon-agent/internal/proc/clone"
)

// A server of FUSE that has read a request and does not answer it keeps a child from
// being killed.
func TestStartsThatCannotBeKilledAreBounded(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a file system that hangs")
	}
	e := newEngine(t, 0)
	if way, _ := e.Way(); way == clone.Fork {
		t.Skip("a start that hangs stops the program")
	}
	e.SetKillTime(50 * time.Millisecond)
	_, low := e.Free()
	m := hangtest.NewMount(t)
	m.Hang()
	held := newRequest(t, []string{"/bin/true"}, "true")
	held.Dir = m.Path() + "/dir"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var ended sync.WaitGroup
	for range clone.MaxStuck {
		ended.Go(func() {
			_, err := e.Start(ctx, &held.Request)
			if hung, ok := errors.AsType[*clone.HungError](err); !ok || hung.PID == 0 || hung.Step != clone.StepChdir {
				t.Errorf("Start of what hangs = %v, want a HungError with a pid", err)
			}
		})
	}
	eventually(t, "all hang", func() bool { return m.Hanging() == clone.MaxStuck })
	cancel()
	ended.Wait()
	if n := e.Stuck(); n != clone.MaxStuck {
		t.Errorf("Stuck() = %d, want %d", n, clone.MaxStuck)
	}
	_, _, err := newRequest(t, []string{"/bin/true"}, "true").output(e)
	if !errors.Is(err, clone.ErrCrowded) || !strings.Contains(err.Error(), "64 starts hang and cannot be killed") {
		t.Errorf("Start of one more = %v, want %v", err, clone.ErrCrowded)
	}
	m.End()
	eventually(t, "all are gone", func() bool { return e.Stuck() == 0 && len(children()) == 0 })
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("children are left: %v", err)
	}
	if _, now := e.Free(); now != low {
		t.Errorf("%d of %d sets of low descriptors are free", now, low)
	}
	if text, status, err := newRequest(t, []string{"/bin/echo"}, "echo", "on").output(e); text != "on\n" || status != 0 || err != nil {
		t.Errorf("the next one: %q, %d, %v", text, status, err)
	}
}
