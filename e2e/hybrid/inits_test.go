//go:build e2e && linux

package hybrid_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

// initsImage names the image of e2e/inits/image.sh.
const initsImage = "INITS_IMAGE"

// initSystems are the programs that the kernel starts, below /inits. "init" is busybox's.
var initSystems = []string{"openrc", "runit", "s6", "init", process1}

// process1 is the agent itself.
const process1 = "process1"

// bootInit boots a guest whose agent an init system starts.
func bootInit(t *testing.T, name string) (made *vm, ended <-chan struct{}) {
	t.Helper()
	if os.Getenv(initsImage) == "" {
		t.Skip("guests with other init systems: e2e/inits/run.sh, of .ci/nightly packages")
	}
	vm, vhost := newVM(t, "firecracker")
	args := []string{"--vsock", vhost, "--console", vm.console(), "--disk", os.Getenv(initsImage), "--karg", "init=/inits/" + name}
	if name == process1 { // words for an init. Before the "--" the kernel would take some for its own
		args = append(args, "--karg", "splash", "--karg", "--", "--karg", "console=ttyS0", "--karg", "quiet", "--karg", "-b")
	}
	uml := start(t, vm.dir, instrument("umlguest"), args...)
	over := make(chan struct{})
	go func() { // ends with the guest
		_ = uml.Wait()
		close(over)
	}()
	vm.succeed(t, "wait", "--timeout", "4m")
	return vm, over
}

// overInits runs a test for each init system.
func overInits(t *testing.T, test func(t *testing.T, name string)) {
	t.Helper()
	for _, name := range initSystems {
		t.Run(name, func(t *testing.T) { test(t, name) })
	}
}

// agentPID is the agent's, which is the parent of its commands.
func (vm *vm) agentPID(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(vm.sh(t, "echo $PPID"))
}

// kill kills the agent, and waits until another one answers.
func (vm *vm) kill(t *testing.T) {
	t.Helper()
	before := vm.agentPID(t)
	vm.Client(t, nil, "sh", "-c", "kill -KILL $PPID")
	checks.Eventually(t, "another agent", func() bool {
		got := vm.Client(t, nil, "sh", "-c", "echo $PPID")
		return got.Status == 0 && strings.TrimSpace(got.Stdout) != before
	})
}

const kills = 12

// inherited is what a command has of the init system's.
const inherited = `umask; ulimit -Sn; pwd; cat /proc/self/oom_score_adj
for fd in 0 1 2 3 4 5 6 7 8 9; do readlink /proc/$$/fd/$fd; done | sed 's/[0-9][0-9]*/N/'
grep -E '^(Sig(Blk|Ign|Cgt)|CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status
awk '{ print $1 == $6 }' /proc/$$/stat
env | grep -v -E '^(PWD|SHLVL|_)=' | sort`

func TestInitSystemsStartTheAgentAgain(t *testing.T) {
	commands := make(map[string]string)
	overInits(t, func(t *testing.T, name string) {
		vm, _ := bootInit(t, name)
		commands[name] = vm.sh(t, inherited)
		for range kills {
			vm.kill(t)
			<-time.After(time.Second) // as long as an agent that fails soon
		}
		if after := vm.sh(t, inherited); after != commands[name] {
			t.Errorf("another agent's command has\n%s\nwant\n%s", after, commands[name])
		}
		vm.wantSupervised(t, name)
		vm.sh(t, "echo COCOON_AGENT_OPTIONS=--denny reseed >/etc/default/cocoon-agent")
		begun := time.Now()
		vm.Client(t, nil, "sh", "-c", "kill -KILL $PPID")
		const why = `the agent's settings are invalid: /etc/default/cocoon-agent: unknown flag --denny`
		checks.Eventually(t, "the host is told", func() bool {
			got := vm.Client(t, nil, "true")
			return got.Status == 126 && strings.Contains(got.Stderr, why)
		})
		t.Logf("told after %v", time.Since(begun))
	})
	if commands[process1] == "" {
		return // it has failed, or was left out
	}
	for name, got := range commands {
		if want := commands[process1]; got != want {
			t.Errorf("a command under %s has\n%s\nand under process 1\n%s", name, got, want)
		}
	}
}

// wantSupervised wants what only one of the systems has.
func (vm *vm) wantSupervised(t *testing.T, name string) {
	t.Helper()
	switch name {
	case "openrc": // stops one that has stopped, too
		if got := vm.sh(t, "readlink /proc/$PPID/exe"); got != "/usr/bin/cocoon-agent\n" {
			t.Errorf("this is not the apk's: %q", got)
		}
		before := vm.agentPID(t)
		vm.Client(t, nil, "sh", "-c", "(setsid sh -c 'rc-service cocoon-agent stop; rc-service cocoon-agent stop; echo $? >/run/stopped; rc-service cocoon-agent start' >/run/said 2>&1 &)")
		checks.Eventually(t, "another agent", func() bool {
			got := vm.Client(t, nil, "sh", "-c", "echo $PPID")
			return got.Status == 0 && strings.TrimSpace(got.Stdout) != before
		})
		if got := vm.sh(t, "cat /run/stopped; rc-service cocoon-agent status"); !strings.HasPrefix(got, "0\n") || !strings.Contains(got, "started") {
			t.Errorf("rc-service status is %q, want started; %s", got, vm.sh(t, "cat /run/said"))
		}
	case "s6":
		if got := vm.sh(t, "s6-svstat -o ready /etc/services.d/cocoon-agent"); got != "true\n" {
			t.Errorf("ready: %q", got)
		}
	}
}

func TestInitOfAGuestReapsAndPowersOff(t *testing.T) {
	vm, ended := bootInit(t, process1)
	vm.sh(t, "for i in $(seq 1000); do (true &) ; done")
	checks.Eventually(t, "no zombie is left", func() bool {
		return vm.sh(t, "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l") == "0\n"
	})
	got := vm.sh(t, "cat /proc/1/comm; cat /proc/sys/kernel/hostname; ls -d /dev/pts/ptmx /dev/fd/0 /sys/fs/cgroup/cgroup.procs; cat /sys/class/net/lo/operstate; cut -d' ' -f2 /proc/self/mounts | sort | tr '\\n' ' '")
	if want := "process1\nguest\n/dev/fd/0\n/dev/pts/ptmx\n/sys/fs/cgroup/cgroup.procs\nunknown\n/ /dev /dev/pts /dev/shm /proc /run /sys /sys/fs/cgroup "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	vm.sh(t, "kill -HUP 1; kill -QUIT 1; kill -ABRT 1") // it takes no notice
	vm.Client(t, nil, "sh", "-c", "kill -USR2 1")
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("it does not power off")
	}
	console, err := os.ReadFile(vm.console())
	if err != nil || strings.Contains(string(console), "Kernel panic") || strings.Contains(string(console), "stays writable") || !strings.Contains(string(console), "re-mounted") {
		t.Errorf("the console: %v\n%s", err, tail(console))
	}
}
