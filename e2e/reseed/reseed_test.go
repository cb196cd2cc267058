//go:build e2e && linux

// Package reseed_test makes a User-Mode-Linux guest a machine of its own, as is
// done with a clone after its snapshot has been restored.
package reseed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

// The clock, the hostname and the random numbers of another kernel are not ours.
func TestMain(m *testing.M) { os.Exit(checks.GuestMain(m)) }

// sh runs a script in the guest.
func sh(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("sh -ec %s: %v: %s", script, err, out)
	}
	return string(out)
}

// prepare runs script, and undo when the test has ended.
func prepare(t *testing.T, script, undo string) {
	t.Helper()
	sh(t, script)
	t.Cleanup(func() { sh(t, undo) })
}

// state gives the guest a /var/lib of its own.
func state(t *testing.T) {
	t.Helper()
	prepare(t, "mount -t tmpfs tmpfs /var/lib && mkdir /var/lib/systemd /var/lib/dbus", "umount /var/lib")
}

// writable gives the guest an /etc of its own too, and leaves it as the original
// of a clone did.
func writable(t *testing.T) {
	t.Helper()
	state(t)
	prepare(t, `
		mkdir /tmp/etc && cp -a /etc/. /tmp/etc && mount --bind /tmp/etc /etc
		echo seed >/var/lib/systemd/random-seed
		rm -f /etc/machine-id && echo 0123456789abcdef0123456789abcdef >/etc/machine-id && cp /etc/machine-id /var/lib/dbus
		echo original >/etc/hostname && hostname original
		if test -x /usr/sbin/sshd; then rm -f /etc/ssh/ssh_host_* && ssh-keygen -A; fi
	`, `umount /etc && rm -r /tmp/etc`)
}

// serve starts an agent, and returns a connection and how the program reaches it.
func serve(t *testing.T) (*client.Client, checks.Agent, *checks.Served) {
	t.Helper()
	served := checks.Serve(t, "--allow-cid", "1")
	a := checks.Agent{Program: checks.Program(t), Target: "vsock://1:1024"}
	return a.Dial(t), a, served
}

func patiently(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), checks.Patience)
	t.Cleanup(cancel)
	return ctx
}

// reseed runs the program.
func reseed(t *testing.T, a checks.Agent, args ...string) checks.Result {
	t.Helper()
	cmd := exec.CommandContext(patiently(t), a.Program, append([]string{"reseed", "--target", a.Target}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
	}
	return checks.Result{Status: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// wellFormed is machine-id(5).
var wellFormed = regexp.MustCompile(`^[0-9a-f]{32}\n$`)

func wantNewMachineID(t *testing.T, before string) {
	t.Helper()
	if id := read(t, "/etc/machine-id"); id == before || !wellFormed.MatchString(id) {
		t.Errorf("machine-id %q, before it was %q", id, before)
	}
}

func wantResumes(t *testing.T, c *client.Client, want uint64) {
	t.Helper()
	i, err := c.Info(patiently(t))
	if err != nil || i.Resumes != want {
		t.Errorf("%+v, %v, want %d resumes", i, err, want)
	}
}

func TestResumeMakesACloneAMachineOfItsOwn(t *testing.T) {
	writable(t)
	sshd := sh(t, "cat /etc/ssh/ssh_host_*_key.pub 2>/dev/null || true")
	c, a, served := serve(t)
	traced := trace(t, served.Process.Pid)

	before := read(t, "/etc/machine-id")
	got := reseed(t, a, "--resume", "--hostname", "clone-7")
	if got.Status != 0 || got.Stderr != "" {
		t.Fatalf("reseed --resume: %+v, want status 0", got)
	}
	t.Logf("\n%s", got.Stdout)
	for _, line := range []string{"entropy +changed", "random_seed +changed", "machine_id +changed", "dbus_id +changed", "clock +", "hostname +changed", "ssh_keys +"} {
		if !regexp.MustCompile(`(?m)^` + line).MatchString(got.Stdout) {
			t.Errorf("no line %q in\n%s", line, got.Stdout)
		}
	}

	wantNewMachineID(t, before)
	if info, err := os.Stat("/etc/machine-id"); err != nil || info.Mode() != 0o444 {
		t.Errorf("Stat of the machine-id = %v, %v, want mode 0444", info, err)
	}
	for _, path := range []string{"/var/lib/dbus/machine-id", "/var/lib/systemd/random-seed"} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Lstat(%s) = %v, want %v", path, err, os.ErrNotExist)
		}
	}
	if name, _ := os.Hostname(); name != "clone-7" || read(t, "/etc/hostname") != "clone-7\n" {
		t.Errorf("hostname %q, and %q at the next boot", name, read(t, "/etc/hostname"))
	}
	if sshd != "" {
		after := sh(t, "cat /etc/ssh/ssh_host_*_key.pub")
		for key := range strings.Lines(sshd) {
			if strings.Contains(after, strings.Fields(key)[1]) {
				t.Errorf("an old host key: %s", key)
			}
		}
		if strings.Count(after, "\n") < 2 || sh(t, "for k in /etc/ssh/ssh_host_*_key; do ssh-keygen -y -f $k >/dev/null; stat -c %a $k; done | sort -u") != "600\n" {
			t.Errorf("new host keys: %s", after)
		}
	}
	traced()
	wantResumes(t, c, 1)
}

// The machine-id is all that version 1 has besides the entropy.
func TestVersion1ReseedRenewsTheMachineID(t *testing.T) {
	writable(t)
	c, a, _ := serve(t)
	before := read(t, "/etc/machine-id")
	got := reseed(t, a, "--protocol", "1", "--machine-id")
	if got.Status != 0 || got.Stdout != "entropy     changed\nmachine_id  changed\n" {
		t.Errorf("reseed --protocol 1: %+v, want entropy and machine_id changed", got)
	}
	wantNewMachineID(t, before)
	wantResumes(t, c, 1)
}

// Version 1 has no bounds of entropy.
func TestHostOfVersion1ReseedsWithAnyEntropy(t *testing.T) {
	state(t)
	for n, want := range map[int]string{
		0:    `ioctl\(\d+, RNDRESEEDCRNG.*?= 0`,
		1:    `RNDADDENTROPY, \{entropy_count=8, buf_size=1, .*?= 0.*RNDRESEEDCRNG.*?= 0`,
		1000: `RNDADDENTROPY, \{entropy_count=4096, buf_size=512, .*?= 0.*RNDRESEEDCRNG.*?= 0`,
	} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			_, a, served := serve(t)
			calls := follow(t, served.Process.Pid)
			where, err := client.ParseTarget(a.Target)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := where.Dial(patiently(t))
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Reseed(patiently(t), conn, make([]byte, n), false); err != nil {
				t.Fatal(err)
			}
			check := regexp.MustCompile("(?s)" + want)
			if calls == nil {
				return
			}
			checks.Eventually(t, "the calls", func() bool { return check.MatchString(calls.String()) })
			if n == 0 && strings.Contains(calls.String(), "RNDADDENTROPY") {
				t.Errorf("entropy of nobody's: %s", calls)
			}
		})
	}
}

// A running sshd has read its keys when it began.
func TestSSHDThatRunsShowsTheNewKeys(t *testing.T) {
	if _, err := os.Stat("/usr/sbin/sshd"); err != nil {
		if os.Getenv("CI") != "" && os.Getenv("E2E_WITHOUT") != "sshd" {
			t.Fatal("no sshd: apt-get install openssh-server, or E2E_WITHOUT=sshd")
		}
		t.Skip("sshd is not installed: .ci/nightly guests installs it")
	}
	writable(t)
	prepare(t, "mkdir -p /run/sshd && /usr/sbin/sshd -f /dev/null -o Port=2222 -o ListenAddress=127.0.0.1 -o PidFile=/run/sshd.pid", "kill $(cat /run/sshd.pid)")
	shown := func() string {
		out, _ := exec.Command("ssh-keyscan", "-t", "ed25519", "-p", "2222", "127.0.0.1").Output()
		return string(out)
	}
	var before string
	checks.Eventually(t, "sshd shows its key", func() bool { before = shown(); return before != "" })
	c, _, _ := serve(t)
	if _, err := c.ReseedWith(patiently(t), client.ReseedOptions{SSHKeys: true}); err != nil {
		t.Fatal(err)
	}
	checks.Eventually(t, "sshd shows a new key", func() bool { after := shown(); return after != "" && after != before })
	if key := strings.Fields(shown())[2]; !strings.Contains(read(t, "/etc/ssh/ssh_host_ed25519_key.pub"), key) {
		t.Errorf("it is not the one on disk: %s", key)
	}
}

// trace has strace follow a process, and returns what checks that it gave the
// kernel entropy and had it reseed.
func trace(t *testing.T, pid int) (check func()) {
	t.Helper()
	log := follow(t, pid)
	if log == nil {
		return func() {}
	}
	return func() {
		calls := regexp.MustCompile(`(?s)RNDADDENTROPY, \{entropy_count=256, buf_size=32, .*?= 0.*RNDRESEEDCRNG.*?= 0`)
		checks.Eventually(t, "the kernel has taken entropy and is reseeded", func() bool { return calls.MatchString(log.String()) })
	}
}

// follow has strace follow a process, and returns its ioctls; nil: there is no strace.
func follow(t *testing.T, pid int) *checks.Log {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no strace: apt-get install strace")
		}
		t.Log("no strace: the system calls are not looked at")
		return nil
	}
	cmd := exec.Command(path, "-f", "-e", "trace=ioctl", "-e", "signal=none", "-p", fmt.Sprint(pid))
	log := new(checks.Log)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	checks.Eventually(t, "strace is attached", func() bool { return strings.Contains(log.String(), "attached") })
	return log
}

func TestClockIsSetToTheHosts(t *testing.T) {
	state(t)
	c, _, _ := serve(t)
	begun := time.Now()
	host := func(ahead time.Duration) func() time.Time { // a clock that does not go by the guest's
		return func() time.Time { return begun.Round(0).Add(ahead + time.Since(begun)) }
	}
	t.Cleanup(func() { _, _ = c.ReseedWith(context.Background(), client.ReseedOptions{ClockBack: true, Now: host(0)}) })
	off := func(now func() time.Time) time.Duration { return time.Now().Round(0).Sub(now()) }

	ctx := patiently(t)
	forward, o := host(time.Hour), client.ReseedOptions{Clock: true}
	for o.Now = forward; ; o.ClockBack = true { // a machine that is busy may be late
		if _, err := c.ReseedWith(ctx, o); err != nil {
			t.Fatal(err)
		}
		if d := off(forward).Abs(); d < 5*time.Millisecond {
			t.Logf("set within %v", d)
			break
		}
	}

	o = client.ReseedOptions{Clock: true, Now: host(0)}
	report, err := c.ReseedWith(patiently(t), o)
	if err != nil || report.Steps[2].Changed || !strings.Contains(report.Steps[2].Note, "ahead, not set back") || off(forward).Abs() > time.Minute {
		t.Errorf("back, unasked: %+v, %v", report, err)
	}
	o.ClockBack = true
	if _, err := c.ReseedWith(patiently(t), o); err != nil || off(o.Now).Abs() > time.Minute {
		t.Errorf("back: %v, the clock is off by %v", err, off(o.Now))
	}
}

// On a read-only root all is done that can be done, for this boot.
func TestReadOnlyRoot(t *testing.T) {
	prepare(t, `
		mount -t tmpfs tmpfs /var/lib && mkdir /var/lib/systemd /var/lib/dbus
		echo seed >/var/lib/systemd/random-seed; cp /etc/machine-id /var/lib/dbus; mount -o remount,ro /var/lib`,
		"umount /var/lib/dbus/machine-id 2>/dev/null || true; umount /var/lib")
	c, a, _ := serve(t)
	before := read(t, "/etc/machine-id")
	t.Cleanup(func() { sh(t, "umount /etc/machine-id; rm -f /run/machine-id") })
	got := reseed(t, a, "--machine-id", "--hostname", "clone-8")
	for _, line := range []string{
		`entropy +changed`, `random_seed +unchanged: it stays: read-only file system`,
		`machine_id +changed: until the next boot: /etc is read-only`, `dbus_id +changed: until the next boot: /var/lib/dbus is read-only`,
		`hostname +changed: for this boot: /etc/hostname could not be written: read-only file system`,
	} {
		if !regexp.MustCompile(`(?m)^` + line).MatchString(got.Stdout) {
			t.Errorf("no line %q in\n%s", line, got.Stdout)
		}
	}
	if got.Status != 0 || got.Stderr != "" {
		t.Errorf("reseed: %+v, want status 0", got)
	}
	wantNewMachineID(t, before)
	if name, _ := os.Hostname(); name != "clone-8" {
		t.Errorf("the kernel's hostname is %q", name)
	}
	before = read(t, "/etc/machine-id")
	if err := c.Reseed(patiently(t), make([]byte, 32), true); err != nil { // it is a mount now
		t.Errorf("Reseed: %v", err)
	}
	wantNewMachineID(t, before)
	if own, id := read(t, "/var/lib/dbus/machine-id"), read(t, "/etc/machine-id"); own != id {
		t.Errorf("D-Bus reads the machine-id %q, and others %q", own, id)
	}
	wantResumes(t, c, 2)
}

func TestMachineIDThatIsAMountIsWrittenInPlace(t *testing.T) {
	state(t)
	for name, mount := range map[string]string{
		"bound":                   "mount --bind /run/machine-id /etc/machine-id",
		"bound and read-only":     "mount --bind /run/machine-id /etc/machine-id && mount -o remount,bind,ro /etc/machine-id",
		"bound in a writable one": "mkdir /run/etc && cp -a /etc/. /run/etc && mount --bind /run/etc /etc && mount --bind /run/machine-id /etc/machine-id",
	} {
		t.Run(name, func(t *testing.T) {
			prepare(t, "rm -f /run/machine-id; echo 0123456789abcdef0123456789abcdef-more >/run/machine-id; chmod 444 /run/machine-id; "+mount,
				"umount /etc/machine-id; umount /etc 2>/dev/null || true; rm -rf /run/etc")
			c, _, _ := serve(t)
			before := read(t, "/etc/machine-id")
			if err := c.Reseed(patiently(t), make([]byte, 32), true); err != nil {
				t.Fatal(err)
			}
			wantNewMachineID(t, before)
		})
	}
}

func TestWithoutThePrivilegeEachStepIsRefused(t *testing.T) {
	writable(t)
	before := read(t, "/etc/machine-id")
	prepare(t, "mkdir -m 755 /run/agent && chown 65534 /run/agent", "rm -r /run/agent")
	a := checks.Agent{Program: checks.Program(t), Target: "unix:///run/agent/s?uid=65534"}
	checks.ServeAs(t, &syscall.Credential{Uid: 65534, Gid: 65534}, "--listen", "unix:///run/agent/s")
	c := a.Dial(t)
	report, err := c.ReseedWith(patiently(t), client.ReseedOptions{
		MachineID: true, Hostname: "clone-9", Clock: true, SSHKeys: true, Now: func() time.Time { return time.Now().Add(time.Hour) },
	})
	failed, ok := errors.AsType[*client.ReseedError](err)
	if !ok {
		t.Fatal(report, err)
	}
	for _, s := range failed.Failed() {
		if s.Err.Kind != client.PermissionDenied {
			t.Errorf("step %s failed with %s: %v, want %s", s.Name, s.Err.Kind, s.Err, client.PermissionDenied)
		}
	}
	if len(failed.Failed()) != 7 || !strings.Contains(err.Error(), "CAP_SYS_ADMIN") {
		t.Errorf("Resume = %v, want 7 failed steps and CAP_SYS_ADMIN", err)
	}
	if read(t, "/etc/machine-id") != before {
		t.Error("the machine-id is another one")
	}
	wantResumes(t, c, 0)
}

func TestEntropyOfTheWrongLengthIsABadRequest(t *testing.T) {
	state(t)
	c, _, _ := serve(t)
	for _, n := range []int{1, 15, 513, 4096} {
		_, err := c.ReseedWith(patiently(t), client.ReseedOptions{Entropy: make([]byte, n), Hostname: "no-clone"})
		remote, ok := errors.AsType[*client.RemoteError](err)
		if !ok || remote.Kind != client.BadRequest || !strings.Contains(err.Error(), "want 16 to 512") {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if name, _ := os.Hostname(); name == "no-clone" {
		t.Error("a step has been taken")
	}
	for _, n := range []int{16, 512} {
		if _, err := c.ReseedWith(patiently(t), client.ReseedOptions{Entropy: make([]byte, n)}); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestConcurrentResumesAndCommandsSucceed(t *testing.T) {
	writable(t)
	c, _, _ := serve(t)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			o := client.ReseedOptions{MachineID: true, Clock: true, Hostname: fmt.Sprintf("clone-%d", i)}
			if _, err := c.ReseedWith(patiently(t), o); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			for range 5 {
				out, err := c.CommandContext(patiently(t), "cat", "/etc/machine-id").Output()
				if err != nil || !wellFormed.Match(out) {
					t.Errorf("cat /etc/machine-id = %q, %v, want an id", out, err)
				}
			}
		})
	}
	all.Wait()
	if name, _ := os.Hostname(); read(t, "/etc/hostname") != name+"\n" {
		t.Errorf("hostname %q, and %q at the next boot", name, read(t, "/etc/hostname"))
	}
	wantResumes(t, c, 4)
}
