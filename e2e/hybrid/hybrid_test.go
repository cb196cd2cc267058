//go:build e2e && linux

// Package hybrid_test tests from the host to an agent in a guest, over a
// virtio-vsock device whose host side is the Unix socket that Firecracker and
// Cloud Hypervisor have: connect, write CONNECT, read OK.
package hybrid_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

// vmms are the ways of closing connections that the device can have: what a
// socket promises, as Cloud Hypervisor does since half-closes reach the guest,
// and Firecracker's.
var vmms = []string{"correct", "firecracker"}

func TestMain(m *testing.M) {
	if os.Getenv(floodVariable) != "" {
		fmt.Fprintln(os.Stderr, flood())
		os.Exit(1)
	}
	if os.Getenv(instruments) == "" {
		fmt.Fprintf(os.Stderr, "hybrid: %s does not name the directory of hybridvsock and umlguest: run make e2e\n", instruments)
		if os.Getenv("CI") == "" {
			fmt.Fprintln(os.Stderr, "hybrid: SKIPPED: nothing was tested from host to guest")
			os.Exit(0)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestOverHybridVsock(t *testing.T) {
	for _, vmm := range vmms {
		t.Run("vmm="+vmm, func(t *testing.T) {
			vm := boot(t, vmm, uml)
			checks.Run(t, vm.Agent)
			t.Run("RunOverAConnectionOfTheCallers", vm.run)
			t.Run("TransportResetIsAnErrorAndTheAgentGoesOn", vm.reset)
			t.Run("ResumedCommandSurvivesResetsAndUpgrades", vm.resume)
			t.Run("AgentAnnouncesItselfAgainAfterReset", vm.announced)
			checks.Run(t, vm.Agent)
		})
	}
}

// run runs commands in version 1. The agent half-closes the connection behind the exit,
// and no byte before that may be lost.
func (vm *vm) run(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), checks.Patience)
	defer cancel()
	target, err := client.ParseTarget(vm.Target)
	if err != nil {
		t.Fatal(err)
	}
	input := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for range 20 {
		conn, err := target.Dial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		code, err := client.Run(ctx, conn, []string{"sh", "-c", "cat; exit 7"}, nil, bytes.NewReader(input), &out, nil)
		if code != 7 || err != nil || !bytes.Equal(out.Bytes(), input) {
			t.Fatalf("Run = %d, %v, %d bytes of %d", code, err, out.Len(), len(input))
		}
	}
}

// reset is what a snapshot and its restore do to connections.
func (vm *vm) reset(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), checks.Patience)
	defer cancel()
	idle, busy := vm.Dial(t), vm.Dial(t)
	silent := busy.CommandContext(ctx, "sleep", "1000")
	transfer := busy.CommandContext(ctx, "cat", "/dev/zero")
	stdout, err := transfer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(silent.Start(), transfer.Start()); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, stdout, 4<<20); err != nil {
		t.Fatal(err)
	}

	vm.wantBackWithinASecond(t)

	if _, err := io.Copy(io.Discard, stdout); !errors.Is(err, client.ErrLost) {
		t.Errorf("the transfer ended with %v, want ErrLost", err)
	}
	if err := idle.Ping(ctx); !errors.Is(err, client.ErrLost) {
		t.Errorf("an idle connection: %v, want ErrLost", err)
	}
	for _, cmd := range []*client.Cmd{silent, transfer} {
		wantLost(t, cmd)
		vm.wantGone(t, cmd.PID())
	}
}

// wantBackWithinASecond resets all connections, until the agent has answered on a
// new one within a second: this machine, not the agent, may be late.
func (vm *vm) wantBackWithinASecond(t *testing.T) {
	t.Helper()
	for range 5 {
		if err := vm.device.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		checks.Eventually(t, "the agent answers", func() bool { // the first connections may meet the reset
			back, err := client.Dial(t.Context(), vm.Target)
			if err != nil {
				return false
			}
			defer back.Close()
			return back.Ping(t.Context()) == nil
		})
		took := time.Since(begun)
		if took < time.Second {
			t.Logf("the agent has answered on a new connection after %v", took)
			return
		}
		t.Logf("after %v", took)
	}
	t.Error("after a reset the agent does not answer on a new connection within a second")
}

func wantLost(t *testing.T, cmd *client.Cmd) {
	t.Helper()
	err := cmd.Wait()
	if _, ok := errors.AsType[*client.LostExitError](err); !ok || !errors.Is(err, client.ErrLost) {
		t.Errorf("%q ended with %v, want a LostExitError", cmd.Args, err)
	}
}

// wantGone asks over a new connection whether a process is still there.
func (vm *vm) wantGone(t *testing.T, pid int) {
	t.Helper()
	checks.Eventually(t, fmt.Sprintf("process %d is gone", pid), func() bool {
		got := vm.Client(t, nil, "sh", "-c", fmt.Sprintf("test -e /proc/%d && echo there || echo gone", pid))
		if got.Status != 0 {
			t.Fatalf("sh in the guest: %+v, want status 0", got)
		}
		return strings.TrimSpace(got.Stdout) == "gone"
	})
}
