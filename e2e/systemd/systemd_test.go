//go:build e2e && linux

// Package systemd_test has a real systemd start the units of packaging/, in a
// User-Mode-Linux guest, as process 1 of a PID namespace of it.
package systemd_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

// manager is systemd itself, in Debian's place.
const manager = "/lib/systemd/systemd"

// The test binary is also what comes before systemd, and an ordinary user's
// service beside the agent's.
const (
	roleVariable = "SYSTEMD_TEST_ROLE"

	roleBoot = "boot" // becomes process 1
	roleTake = "take" // takes the agent's port
)

// units is the only directory in which systemd finds units.
const units = "/run/test-units"

const (
	target   = "vsock://1:1024"
	takenLog = "/run/test-taken"
	agentLog = "/run/test-agent.log"
)

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		os.Exit(checks.GuestMain(m))
	case roleBoot:
		fmt.Fprintln(os.Stderr, boot())
	case roleTake:
		fmt.Fprintln(os.Stdout, bindAgentsPort())
		return
	}
	os.Exit(1)
}

// boot becomes systemd, in namespaces of its own. If it cannot, it returns an error.
func boot() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts of its own: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// "container": it leaves the kernel and its settings alone.
	env := []string{"container=test", "SYSTEMD_UNIT_PATH=" + units, "SYSTEMD_LOG_TARGET=console", "PATH=" + os.Getenv("PATH")}
	return unix.Exec(manager, []string{manager, "--unit=test.target", "--show-status=no"}, env)
}

// bindAgentsPort is what an ordinary user could do to the agent.
func bindAgentsPort() error {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: 1024}), unix.Close(fd))
}

func write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(units, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// install installs the units of packaging/ as its README says, and the units that they
// need. Drop-ins change them, but for the program's path.
func install(t *testing.T) {
	t.Helper()
	for _, name := range []string{"basic", "sysinit", "sockets", "shutdown", "local-fs"} {
		write(t, name+".target", read(t, "/lib/systemd/system/"+name+".target"))
	}
	service := read(t, "../../packaging/cocoon-agent.service")
	installed := "ExecStart=/usr/local/bin/cocoon-agent"
	if !strings.Contains(service, installed) {
		t.Fatalf("no %s in the unit", installed)
	}
	const settings = "/etc/default/cocoon-agent"
	if !strings.Contains(service, settings) {
		t.Fatalf("no %s in the unit", settings)
	}
	write(t, "settings", "AGENT_LOG_LEVEL=debug\nCOCOON_AGENT_OPTIONS=--allow-cid 1\n")
	service = strings.NewReplacer(installed, "ExecStart="+checks.Program(t), settings, units+"/settings").Replace(service)
	write(t, "cocoon-agent.service", service)
	write(t, "cocoon-agent.service.d/test.conf", "[Service]\nStandardError=append:"+agentLog+"\n")
	write(t, "cocoon-agent.socket", read(t, "../../packaging/cocoon-agent.socket"))
	if err := os.Mkdir(units+"/sockets.target.wants", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../cocoon-agent.socket", units+"/sockets.target.wants/cocoon-agent.socket"); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Nothing orders it after the socket unit but what orders every service.
	write(t, "taker.service", fmt.Sprintf("[Service]\nType=oneshot\nUser=65534\nEnvironment=%s=%s\nStandardOutput=append:%s\nExecStart=%s\n", roleVariable, roleTake, takenLog, self))
	write(t, "test.target", "[Unit]\nRequires=basic.target\nWants=taker.service\nAfter=basic.target taker.service\nAllowIsolate=yes\n")
}

// A booted is a running systemd.
type booted struct{ pid string }

// start boots systemd. The end of the test kills it, and so all of its namespace.
func start(t *testing.T) booted {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+roleBoot)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS}
	var console checks.Log
	cmd.Stdout, cmd.Stderr = &console, &console
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			agent, _ := os.ReadFile(agentLog)
			t.Logf("console:\n%s\nthe agent's log:\n%s", console.String(), agent)
		}
	})
	return booted{strconv.Itoa(cmd.Process.Pid)}
}

// systemctl speaks to it from inside: systemd listens to processes that it can see.
func (b booted) systemctl(args ...string) (string, error) {
	args = append([]string{"--target=" + b.pid, "--pid", "--mount", "systemctl"}, args...)
	out, err := exec.Command("nsenter", args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (b booted) do(t *testing.T, args ...string) {
	t.Helper()
	if out, err := b.systemctl(args...); err != nil {
		t.Fatalf("systemctl %q: %v: %s", args, err, out)
	}
}

// show returns a property of the agent's service.
func (b booted) show(t *testing.T, property string) string {
	t.Helper()
	out, err := b.systemctl("show", "--property="+property, "--value", "cocoon-agent.service")
	if err != nil {
		t.Fatalf("systemctl show: %v: %s", err, out)
	}
	return out
}

func TestUnitsUnderSystemd(t *testing.T) {
	if _, err := os.Stat(manager); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no systemd: apt-get install systemd")
		}
		t.Skip("no systemd: apt-get install systemd")
	}
	install(t)
	systemd := start(t)
	checks.Eventually(t, "the guest is up", func() bool {
		_, err := systemd.systemctl("is-active", "test.target")
		return err == nil
	})
	if got := read(t, takenLog); got != "address already in use\n" {
		t.Errorf("an ordinary user's service, taking the port: %s", got)
	}
	if got := systemd.show(t, "ActiveState"); got != "inactive" {
		t.Errorf("nobody has connected, and the service is %s", got)
	}

	a := checks.Agent{Program: checks.Program(t), Target: target}
	want := checks.Result{Stdout: "hello\n"}
	if got := a.Client(t, nil, "echo", "hello"); got != want {
		t.Fatalf("the first connection: %+v", got)
	}
	if got := systemd.show(t, "ActiveState") + ", " + systemd.show(t, "StatusText"); got != "active, listening on vsock://:1024" {
		t.Errorf("the service that is ready: %s", got)
	}

	before := systemd.show(t, "MainPID")
	systemd.do(t, "kill", "--kill-whom=main", "--signal=KILL", "cocoon-agent.service")
	if got := a.Client(t, nil, "echo", "hello"); got != want {
		t.Errorf("a connection after the agent was killed: %+v", got)
	}
	if after := systemd.show(t, "MainPID"); after == before || after == "0" {
		t.Errorf("main process %s, before it was killed %s", after, before)
	}

	systemd.do(t, "restart", "cocoon-agent.service")
	if got := a.Client(t, nil, "echo", "hello"); got != want {
		t.Errorf("a connection after a restart: %+v", got)
	}
}
