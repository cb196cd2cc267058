//go:build e2e && linux

package hybrid_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

// A snapshot of a guest's memory, taken under a command, and two guests that wake
// from it. QEMU's vsock device of this kind cannot be part of a snapshot: it is
// taken away before, which ends all connections, and each clone is given its own.
func TestClonesOfASnapshotAreResumed(t *testing.T) {
	state, command := snapshot(t)
	seen := map[string]string{}
	for _, name := range []string{"clone-1", "clone-2"} {
		t.Run(name, func(t *testing.T) {
			vm := restore(t, state)
			before := vm.identity(t)
			if other, ok := seen["snapshot"]; ok && other != before {
				t.Fatalf("the clones are none: %q, %q", other, before)
			}
			seen["snapshot"] = before
			vm.wantGone(t, command)

			out, err := exec.CommandContext(t.Context(), vm.Program, "reseed", "--target", vm.Target, "--resume", "--hostname", name).CombinedOutput()
			if err != nil {
				t.Fatalf("reseed: %v: %s", err, out)
			}
			t.Logf("\n%s", out)
			vm.wantClock(t, 50*time.Millisecond) // it was seconds behind, and an emulated CPU takes its time
			after := vm.identity(t)
			if after == before || after == seen["resumed"] || !strings.Contains(after, name) {
				t.Errorf("%q, before %q, the other %q", after, before, seen["resumed"])
			}
			seen["resumed"] = after
			random := vm.Client(t, nil, "sh", "-c", "head -c 16 /dev/urandom | od -An -tx1").Stdout
			if random == "" || random == seen["random"] {
				t.Errorf("random numbers %q, and of the other %q", random, seen["random"])
			}
			seen["random"] = random
			checks.Run(t, vm.Agent)
		})
	}
}

// Commands that run while a VM is paused, and a ping that is given up, go on with it.
func TestPausedVMLosesNothing(t *testing.T) {
	const size = 64 << 20
	var m *monitor
	vm := boot(t, "correct", func(t *testing.T, dir, vhost, console string) {
		bootQEMU(t, "amd64", dir, console, append(onVhost(vhost), monitorIn(dir)...)...)
		m = openMonitor(t, dir)
		m.attach()
	})
	c := vm.Dial(t)
	transfer := c.Command("sh", "-c", fmt.Sprintf("dd if=/dev/zero bs=65536 count=%d 2>/dev/null; exit 7", size>>16))
	stdout, err := transfer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := transfer.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, stdout, 1<<20); err != nil {
		t.Fatal(err)
	}

	m.do("stop", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := c.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrLost) {
		t.Errorf("a ping of a paused VM: %v", err)
	}
	m.do("cont", nil)

	rest, err := io.Copy(io.Discard, stdout)
	if err != nil || rest != size-1<<20 {
		t.Errorf("%d bytes after the pause, want %d: %v", rest, size-1<<20, err)
	}
	if exit, ok := errors.AsType[*client.ExitError](transfer.Wait()); !ok || exit.ExitStatus() != 7 {
		t.Errorf("%v, want exit status 7", exit)
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// identity is what a clone has in common with its siblings.
func (vm *vm) identity(t *testing.T) string {
	t.Helper()
	got := vm.Client(t, nil, "sh", "-c", "cat /etc/machine-id && hostname")
	if got.Status != 0 {
		t.Fatalf("read the guest's ids: %+v, want status 0", got)
	}
	return got.Stdout
}

// snapshot returns the file of a guest's state, and the process of a command that
// ran when its connection was taken away.
func snapshot(t *testing.T) (state string, command int) {
	t.Helper()
	vm, qemu, m := bootMonitored(t)
	if got := vm.Client(t, nil, "sh", "-c", "echo 0123456789abcdef0123456789abcdef >/etc/machine-id; hostname snapshot"); got.Status != 0 {
		t.Fatalf("set the guest's ids: %+v, want status 0", got)
	}
	sleep := vm.Dial(t).Command("sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	state = hibernate(t, qemu, m)
	wantLost(t, sleep)
	return state, sleep.PID()
}

// bootMonitored boots a guest in QEMU that can be hibernated.
func bootMonitored(t *testing.T, flags ...string) (made *vm, qemu *exec.Cmd, m *monitor) {
	t.Helper()
	made = boot(t, "correct", func(t *testing.T, dir, vhost, console string) {
		qemu = bootQEMU(t, "amd64", dir, console, slices.Concat(onVhost(vhost), monitorIn(dir), flags)...)
		m = openMonitor(t, dir)
		m.attach()
	})
	return made, qemu, m
}

// hibernate writes the guest's state to a file, and ends the guest. Its vsock device is taken away
// before.
func hibernate(t *testing.T, qemu *exec.Cmd, m *monitor) (state string) {
	t.Helper()
	m.do("device_del", arguments{"id": "vsock0"})
	m.await("DEVICE_DELETED")
	state = filepath.Join(t.TempDir(), "state")
	m.do("stop", nil)
	m.do("migrate", arguments{"uri": "exec:cat >" + state})
	checks.Eventually(t, "the snapshot is complete", func() bool { return m.do("query-migrate", nil).Status == "completed" })
	m.do("quit", nil)
	_ = qemu.Wait()
	return state
}

// A command that outlives its connection goes on in a guest that is hibernated and woken, and its
// reader sees each line once.
func TestResumedCommandOutlivesHibernation(t *testing.T) {
	vm, qemu, m := bootMonitored(t)
	var target atomic.Pointer[string]
	target.Store(&vm.Target)
	pool := client.NewPool(client.PoolConfig{Dial: func(ctx context.Context, _ string) (net.Conn, error) {
		to, err := client.ParseTarget(*target.Load())
		if err != nil {
			return nil, err
		}
		return to.Dial(ctx)
	}})
	defer pool.Close()
	c, err := pool.Get(t.Context(), "the VM")
	if err != nil {
		t.Fatal(err)
	}
	const lines = 20_000
	cmd := c.Command("sh", "-c", fmt.Sprintf("seq %d; sleep 1; seq %d; exit 7", lines, lines))
	cmd.Outlive = client.Outlive{Resume: true, Ring: 16 << 10}
	var got bytes.Buffer
	slow := &pacer{to: &got, began: make(chan struct{})}
	cmd.Stdout = slow
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-slow.began
	state := hibernate(t, qemu, m)
	woken := restore(t, state)
	target.Store(&woken.Target)
	exit, ok := errors.AsType[*client.ExitError](cmd.Wait())
	var want strings.Builder
	for i := range 2 * lines {
		fmt.Fprintln(&want, i%lines+1)
	}
	if !ok || exit.ExitCode() != 7 || got.String() != want.String() {
		t.Errorf("Wait = %v, with %d bytes of output, want exit status 7 and %d bytes", exit, got.Len(), want.Len())
	}
}

// A pacer writes on, and tells of its first bytes.
type pacer struct {
	to    io.Writer
	once  sync.Once
	began chan struct{}
}

func (p *pacer) Write(b []byte) (int, error) {
	p.once.Do(func() { close(p.began) })
	return p.to.Write(b)
}

// restore wakes a guest from a snapshot.
func restore(t *testing.T, state string) *vm {
	t.Helper()
	vm, _ := restoreWith(t, state)
	return vm
}

// restoreWith is restore, of a guest that bootMonitored has booted with the same flags.
func restoreWith(t *testing.T, state string, flags ...string) (*vm, *monitor) {
	t.Helper()
	vm, vhost := newVM(t, "correct")
	flags = append(flags, "-incoming", "exec:cat "+state)
	bootQEMU(t, "amd64", vm.dir, vm.console(), slices.Concat(onVhost(vhost), monitorIn(vm.dir), flags)...)
	m := openMonitor(t, vm.dir)
	checks.Eventually(t, "the guest's state is there", func() bool { return m.do("query-status", nil).Status == "paused" })
	m.do("cont", nil)
	m.attach()
	checks.Eventually(t, "the agent answers", func() bool {
		c, err := client.Dial(t.Context(), vm.Target)
		if err != nil {
			return false
		}
		defer c.Close()
		return c.Ping(t.Context()) == nil
	})
	return vm, m
}
