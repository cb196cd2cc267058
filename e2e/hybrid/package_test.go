//go:build e2e && linux

package hybrid_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

// overPackages runs a test for each release, in a guest with the package's version 0.3.0.
func overPackages(t *testing.T, test func(t *testing.T, vm *vm)) {
	t.Helper()
	if os.Getenv(debianPackages) == "" {
		t.Skip("packages in whole Debian guests: e2e/debian/packages.sh, of .ci/nightly packages")
	}
	for release := range strings.FieldsSeq(os.Getenv(debianPackages)) {
		t.Run(release, func(t *testing.T) { test(t, debian(t, release+"-deb")) })
	}
}

// wantVersions wants that version of the program that is installed, and of the agent that runs.
func (vm *vm) wantVersions(t *testing.T, installed, running string) {
	t.Helper()
	if got := vm.sh(t, "cocoon-agent version | head -n 1"); got != "cocoon-agent "+installed+"\n" {
		t.Errorf("installed: %q, want %s", got, installed)
	}
	if got := vm.succeed(t, "info", "--json"); !strings.Contains(got, `"`+running+`"`) {
		t.Errorf("the agent that runs is not %s: %s", running, got)
	}
}

func TestPackageLivesInAGuest(t *testing.T) {
	overPackages(t, func(t *testing.T, vm *vm) {
		// The socket came before the agent, which the first connection or the boot has started.
		vm.sh(t, "systemctl is-active cocoon-agent.socket cocoon-agent.service && systemctl is-enabled cocoon-agent.socket")
		if got := vm.sh(t, "systemctl show -P ActiveEnterTimestampMonotonic cocoon-agent.socket cocoon-agent.service | grep . | sort -nc && echo in order"); got != "in order\n" {
			t.Errorf("the agent was there before its socket: %q", got)
		}
		vm.wantVersions(t, "0.3.0", "0.3.0")
		agent := vm.agentPID(t)

		// An upgrade through the agent beside three commands.
		results := make(chan checks.Result)
		for range 3 {
			go func() { // ends when the command does
				results <- vm.Client(t, nil, "sh", "-c", "touch /run/waits-$$; until [ -e /run/upgraded ]; do sleep 0.2; done; exit 7")
			}()
		}
		checks.Eventually(t, "three commands", func() bool { return vm.sh(t, "ls /run/waits-* 2>/dev/null | wc -l") == "3\n" })
		t.Log(vm.sh(t, "dpkg -i /root/new.deb 2>&1"))
		vm.wantVersions(t, "0.3.1", "0.3.0")
		if got := vm.agentPID(t); got != agent {
			t.Errorf("another agent runs: %s, before %s", got, agent)
		}
		vm.sh(t, "touch /run/upgraded")
		for range 3 {
			if got := <-results; got.Status != 7 {
				t.Errorf("a command beside the upgrade: %+v", got)
			}
		}

		// The new version takes effect with a restart, which the agent's own command cannot await.
		vm.restart(t)
		vm.wantVersions(t, "0.3.1", "0.3.1")

		// A command that outlives its connection upgrades the agent in place, or downgrades it.
		agent = vm.agentPID(t)
		t.Log(vm.succeed(t, "client", "--resume", "--", "dpkg", "-i", "/root/old.deb"))
		vm.wantVersions(t, "0.3.0", "0.3.0")
		t.Log(vm.sh(t, "dpkg -i /root/new.deb 2>&1"))
		vm.wantVersions(t, "0.3.1", "0.3.0")
		vm.succeed(t, "client", "--resume", "--", "systemctl", "reload", "cocoon-agent")
		vm.wantVersions(t, "0.3.1", "0.3.1")
		if got := vm.agentPID(t); got != agent {
			t.Errorf("another agent runs: %s, before %s", got, agent)
		}
		vm.sh(t, "systemctl is-active cocoon-agent.service")

		// A mistake in the settings locks nobody out.
		vm.sh(t, "echo COCOON_AGENT_OPTIONS=--denny reseed >>/etc/default/cocoon-agent && cp /etc/default/cocoon-agent /run/settings && systemd-run -q --on-active=20 sh -c 'rm /etc/default/cocoon-agent; systemctl restart cocoon-agent'")
		begun := time.Now()
		vm.Client(t, nil, "systemctl", "restart", "--no-block", "cocoon-agent")
		checks.Eventually(t, "the host is told", func() bool {
			got := vm.Client(t, nil, "true")
			return got.Status == 126 && strings.Contains(got.Stderr, "the agent's settings are invalid: /etc/default/cocoon-agent: unknown flag --denny")
		})
		t.Logf("told after %v", time.Since(begun))
		checks.Eventually(t, "it serves again", func() bool { return vm.Client(t, nil, "true").Status == 0 })

		vm.wantLimits(t)

		// Downgrade, removal and purge go through the agent, too, which goes on.
		agent = vm.agentPID(t)
		t.Log(vm.sh(t, "dpkg -i /root/old.deb 2>&1"))
		vm.wantVersions(t, "0.3.0", "0.3.1")
		t.Log(vm.sh(t, "dpkg -P cocoon-agent 2>&1; test ! -e /etc/default/cocoon-agent && ! systemctl is-enabled cocoon-agent.socket"))
		if got := vm.agentPID(t); got != agent {
			t.Errorf("another agent runs: %s, before %s", got, agent)
		}
	})
}

// restart has systemd start another agent, which ends the command that asks for it.
func (vm *vm) restart(t *testing.T) {
	t.Helper()
	before := vm.agentPID(t)
	vm.Client(t, nil, "systemctl", "restart", "--no-block", "cocoon-agent")
	checks.Eventually(t, "another agent", func() bool {
		got := vm.Client(t, nil, "sh", "-c", "echo $PPID")
		return got.Status == 0 && strings.TrimSpace(got.Stdout) != before
	})
}

// wantLimits puts the package's drop-in for limits into its place, which needs systemd 254.
func (vm *vm) wantLimits(t *testing.T) {
	t.Helper()
	vm.sh(t, "install -D -m 644 -t /etc/systemd/system/cocoon-agent.service.d /usr/share/doc/cocoon-agent/examples/limits.conf && systemctl daemon-reload")
	vm.restart(t)
	version, err := strconv.Atoi(strings.TrimSpace(vm.sh(t, "systemctl --version | awk 'NR == 1 { print int($2) }'")))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), vm.Program, "client", "--target", vm.Target, "--memory", "64M", "--", "sh", "-c", "cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/memory.max").CombinedOutput()
	switch said := string(out); {
	case version >= 254 && (err != nil || said != "67108864\n"):
		t.Errorf("systemd %d: a limit: %v: %q", version, err, said)
	case version < 254 && (err == nil || !strings.Contains(said, "cannot set limits")):
		t.Errorf("systemd %d: a limit: %v: %q", version, err, said)
	}
}
