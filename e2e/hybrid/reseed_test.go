//go:build e2e && linux

package hybrid_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

// Two guests with the same files, with a clock of the past.
func TestClonesAreMadeMachinesOfTheirOwn(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"clone-1", "clone-2"} {
		vm := boot(t, "firecracker", uml)
		got := vm.Client(t, nil, "sh", "-ec", `
			mkdir /tmp/etc && cp -a /etc/. /tmp/etc && mount --bind /tmp/etc /etc && mount -t tmpfs tmpfs /var/lib
			rm -f /etc/machine-id; echo 0123456789abcdef0123456789abcdef >/etc/machine-id
			rm -f /etc/ssh/ssh_host_*; date -s @1000000000`)
		if got.Status != 0 {
			t.Fatalf("set up the guest: %+v, want status 0", got)
		}
		out, err := exec.CommandContext(t.Context(), vm.Program, "reseed", "--target", vm.Target, "--resume", "--hostname", name).CombinedOutput()
		if err != nil {
			t.Fatalf("reseed: %v: %s", err, out)
		}
		t.Logf("%s:\n%s", name, out)

		vm.wantClock(t, 25*time.Millisecond)
		for what, script := range map[string]string{
			"machine-id": "cat /etc/machine-id", "hostname": "hostname; cat /etc/hostname",
			"random": "head -c 16 /dev/urandom | od -An -tx1", "ssh": "cat /etc/ssh/ssh_host_*_key.pub 2>/dev/null || echo none of " + name,
		} {
			got := vm.Client(t, nil, "sh", "-c", script)
			if got.Status != 0 || got.Stdout == "" || strings.Contains(got.Stdout, seen[what]) && seen[what] != "" {
				t.Errorf("%s of %s: %+v", what, name, got)
			}
			seen[what] = got.Stdout
		}
	}
}

// wantClock has the guest's clock set until it is right, give or take tolerance: this
// machine, not the agent, may be late.
func (vm *vm) wantClock(t *testing.T, tolerance time.Duration) {
	t.Helper()
	c := vm.Dial(t)
	var least time.Duration
	for range 50 {
		i, err := c.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// Neither the question nor the answer takes less than no time.
		if d := i.ClockOffset.Abs() + i.RoundTrip/2; d < tolerance {
			t.Logf("the clock is off by %v, give or take %v", i.ClockOffset, i.RoundTrip/2)
			return
		} else if least == 0 || d < least {
			least = d
		}
		if _, err := c.ReseedWith(t.Context(), client.ReseedOptions{ClockBack: true}); err != nil {
			t.Fatal(err)
		}
	}
	t.Errorf("the guest's clock is %v off at best", least)
}
