//go:build e2e && linux

package hybrid_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/e2e/checks"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

// floodVariable makes the test binary a program of the guest's that connects to
// the agent over vsock loopback as often as it can, until it is killed.
const floodVariable = "HYBRID_TEST_FLOOD"

func flood() error {
	for {
		fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		_ = unix.Connect(fd, &unix.SockaddrVM{CID: transport.CIDLocal, Port: transport.DefaultPort})
		_ = unix.Close(fd)
	}
}

// umlWithLoopback is uml with vsock loopback, over which every process of the
// guest reaches the agent's port.
func umlWithLoopback(t *testing.T, dir, vhost, console string) {
	t.Helper()
	program := checks.Program(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	start(t, dir, instrument("umlguest"), "--vsock", vhost, "--console", console, "--loopback",
		"--keep", filepath.Dir(program), "--keep", filepath.Dir(self), "--",
		"/bin/sh", "-c", `"$0" serve 2>&1 | cat`, program)
}

// A loop of an ordinary user of the guest, which has one CPU, slows the host's
// connections less than 3 times, and leaves a record or two in 10 s. If the machine
// has other work, the guest loses its CPU, more often when it has more to do: what
// fails the test is an order of magnitude, as of an agent that falls behind.
func TestLoopbackFloodLeavesTheWayInOpen(t *testing.T) {
	vm := boot(t, "correct", umlWithLoopback)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := vm.Dial(t)
	const rounds, dials = 7, 20
	var ratios []float64
	for range rounds {
		quiet := vm.dialTime(t, dials)
		ctx, end := context.WithCancel(t.Context())
		cmd := c.CommandContext(ctx, self)
		cmd.Env, cmd.User = []string{floodVariable + "=1"}, "65534:65534"
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		flooded := vm.dialTime(t, dials)
		ratios = append(ratios, float64(flooded)/float64(quiet))
		t.Logf("a connection and its greeting: mean %v without the flood, %v with it", quiet, flooded)
		end()
		if err := cmd.Wait(); err == nil || strings.Contains(err.Error(), "exit status") {
			t.Fatalf("the flood has ended by itself: %v", err)
		}
	}
	slices.Sort(ratios)
	median := ratios[rounds/2]
	t.Logf("the flood slows connections %.1f times (median of %.1f), want less than 3 on a machine with nothing else to do", median, ratios)
	if median > 20 {
		t.Errorf("the flood slows connections %.1f times (median of %.1f), want less than 20 on any machine", median, ratios)
	}
	text, err := os.ReadFile(vm.console())
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), `"peer refused"`); n == 0 || n > 20 {
		t.Errorf("%d records of refused peers, want one in 10 s", n)
	}
}

// dialTime is how long a connection from the host takes, up to the agent's
// greeting: the mean of n.
func (vm *vm) dialTime(t *testing.T, n int) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), checks.Patience)
	defer cancel()
	begun := time.Now()
	for range n {
		c, err := client.Dial(ctx, vm.Target)
		if err == nil {
			err = c.Ready(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	return time.Since(begun) / time.Duration(n)
}
