//go:build e2e && linux

package loopback_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/e2e/checks"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

// The test binary is also the program of an ordinary user of the guest.
const (
	roleVariable = "LOOPBACK_TEST_ROLE"

	roleTake    = "take"    // binds the agent's port, on any CID
	roleTakeOne = "takeone" // binds it on one CID, to which it might get more closely
	roleConnect = "connect" // connects to it, and says hello
)

// nobody is a user with no privilege at all.
const nobody = 65534

func play(role string) int {
	var err error
	switch role {
	case roleTake:
		err = bindOnce(unix.VMADDR_CID_ANY)
	case roleTakeOne:
		err = bindOnce(unix.VMADDR_CID_LOCAL)
	case roleConnect:
		err = converse()
	default:
		err = fmt.Errorf("no role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		return 1
	}
	fmt.Fprintln(os.Stdout, "done")
	return 0
}

func bindOnce(cid uint32) error {
	socket, err := bindPort(cid)
	if err != nil {
		return err
	}
	return socket.Close()
}

// bindPort listens on the agent's port and does nothing more, as a socket unit.
func bindPort(cid uint32) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	socket := os.NewFile(uintptr(fd), "agent's port")
	if err := unix.Bind(fd, &unix.SockaddrVM{CID: cid, Port: transport.DefaultPort}); err != nil {
		return nil, errors.Join(fmt.Errorf("bind: %w", err), socket.Close())
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		return nil, errors.Join(fmt.Errorf("listen: %w", err), socket.Close())
	}
	return socket, nil
}

// converse returns what comes of a conversation with the agent.
func converse() error {
	t, err := transport.ParseTarget(target)
	if err != nil {
		return err
	}
	conn, err := transport.Dial(context.Background(), t)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(checks.Patience))
	_, _ = io.WriteString(conn, "{\"type\":\"cocoon-agent/2\"}\n")
	got, err := io.ReadAll(conn)
	return fmt.Errorf("%d bytes, %v", len(got), err) //nolint:errorlint // for a person
}

// asNobody returns what the program says in a role, as an ordinary user.
func asNobody(t *testing.T, role string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.Output()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// holdPort is a socket unit's work, until the test's end.
func holdPort(t *testing.T) *os.File {
	t.Helper()
	socket, err := bindPort(unix.VMADDR_CID_ANY)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return socket
}

// wantHeld says that an ordinary user can take the port in no way.
func wantHeld(t *testing.T, when string) {
	t.Helper()
	for _, role := range []string{roleTake, roleTakeOne} {
		if got := asNobody(t, role); got != "bind: address already in use" {
			t.Errorf("%s, %s as nobody: %s, want address already in use", when, role, got)
		}
	}
}

func wantRefused(t *testing.T) {
	t.Helper()
	if got := asNobody(t, roleConnect); !strings.HasPrefix(got, "0 bytes, ") {
		t.Errorf("connecting: %s", got)
	}
}

// Why there is a socket unit.
func TestPortThatNobodyHoldsIsAnyUsers(t *testing.T) {
	for _, role := range []string{roleTake, roleTakeOne} {
		if got := asNobody(t, role); got != "done" {
			t.Errorf("an ordinary user, %s: %s", role, got)
		}
	}
}

func TestUserCannotConnectOrTakeTheAgentsPort(t *testing.T) {
	agent := checks.Serve(t)
	wantHeld(t, "of an agent")
	wantRefused(t)
	checks.Eventually(t, "the agent logs the refused peer", func() bool {
		return strings.Contains(agent.Log.String(), `"message":"peer refused"`)
	})
}

func TestUserCannotTakeASocketUnitsPort(t *testing.T) {
	socket := holdPort(t)
	for range 2 {
		wantHeld(t, "without an agent")
		agent := checks.ServePassed(t, socket)
		wantHeld(t, "with an agent")
		wantRefused(t)
		_ = agent.Process.Kill()
		_ = agent.Wait()
	}
	wantHeld(t, "after the agent was killed")
}

func TestPassedSocketOutlivesTheAgent(t *testing.T) {
	socket := holdPort(t)
	agent := checks.ServePassed(t, socket, "--allow-cid", "1")
	if !strings.Contains(agent.Log.String(), `"address":"vsock://:1024"`) {
		t.Errorf("log: %s", agent.Log)
	}
	a := checks.Agent{Program: checks.Program(t), Target: target}
	if got := a.Client(t, nil, "sh", "-c", "env | grep -c LISTEN_; ls -l /proc/self/fd | grep -c socket:"); got.Stdout != "0\n0\n" {
		t.Errorf("what a command has of the socket: %+v", got)
	}
	_ = agent.Process.Kill()
	_ = agent.Wait()

	parsed, err := transport.ParseTarget(target)
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := transport.Dial(t.Context(), parsed)
	if err != nil {
		t.Fatalf("connecting to a port whose agent is dead: %v", err)
	}
	checks.ServePassed(t, socket, "--allow-cid", "1")
	c, err := client.NewClient(t.Context(), waiting)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if out, err := c.CommandContext(t.Context(), "echo", "hello").Output(); string(out) != "hello\n" || err != nil {
		t.Errorf("echo = %q, %v, want %q", out, err, "hello\n")
	}
}

// A socket unit is started when there may be no vsock device yet.
func TestPortBoundBeforeTheTransportIsServed(t *testing.T) {
	checks.Eventually(t, "the loopback transport is unloaded", func() bool {
		err := unix.DeleteModule("vsock_loopback", 0)
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			t.Fatal(err)
		}
		return err == nil
	})
	socket, bindErr := bindPort(unix.VMADDR_CID_ANY)
	loadLoopback(t) // for other tests too
	if bindErr != nil {
		t.Fatal(bindErr)
	}
	defer socket.Close()
	checks.ServePassed(t, socket, "--allow-cid", "1")
	a := checks.Agent{Program: checks.Program(t), Target: target}
	if got := a.Client(t, nil, "echo", "hello"); got != (checks.Result{Stdout: "hello\n"}) {
		t.Errorf("client echo: %+v, want %q", got, "hello\n")
	}
}

func loadLoopback(t *testing.T) {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("/usr/lib/uml/modules/" + unix.ByteSliceToString(name.Release[:]) + "/kernel/net/vmw_vsock/vsock_loopback.ko")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
		t.Fatal(err)
	}
}
