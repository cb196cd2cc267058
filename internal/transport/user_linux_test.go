package transport_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

// This test program plays one of these roles, as another user, if the variable asks for
// it.
const (
	roleVariable   = "TRANSPORT_TEST_ROLE"
	socketVariable = "TRANSPORT_TEST_SOCKET"

	roleHost  = "host"  // dials, and waits until the agent hangs up
	roleAgent = "agent" // listens, and prints what Admit says of the first connection
	roleEars  = "ears"  // listens, and prints how many bytes come over the first connection
)

const otherUser = 65534

// play returns the exit status.
func play(role, socket string) int {
	var err error
	switch role {
	case roleHost:
		err = playHost(socket)
	case roleAgent:
		err = playAgent(socket)
	case roleEars:
		err = playEars(socket)
	default:
		err = fmt.Errorf("no role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func playHost(socket string) error {
	conn, err := net.DialTimeout("unix", socket, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, err = io.Copy(io.Discard, conn)
	return err
}

func playAgent(socket string) error {
	ln, err := transport.Listen(unixAddress(socket), transport.Policy{})
	if err != nil {
		return err
	}
	defer ln.Close()
	fmt.Fprintln(os.Stdout, "listening")
	conn, err := ln.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	peer, err := transport.Policy{}.Admit(conn)
	fmt.Fprintln(os.Stdout, peer.UID, err)
	return nil
}

func playEars(socket string) error {
	ln, err := transport.Listen(unixAddress(socket), transport.Policy{})
	if err != nil {
		return err
	}
	defer ln.Close()
	fmt.Fprintln(os.Stdout, "listening")
	conn, err := ln.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	n, err := io.Copy(io.Discard, conn)
	fmt.Fprintln(os.Stdout, n, "bytes")
	return err
}

// startOther starts another user's program that listens on socket. The caller reads its
// later output from out.
func startOther(t *testing.T, role, socket string) (cmd *exec.Cmd, out io.Reader) {
	t.Helper()
	cmd = asOtherUser(t, role, socket)
	if err := os.Chown(filepath.Dir(socket), otherUser, otherUser); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var listening string
	if _, err := fmt.Fscanln(out, &listening); err != nil || listening != "listening" {
		t.Fatalf("the other program said %q, %v", listening, err)
	}
	return cmd, out
}

// asOtherUser returns this program in a role. The test's end kills it.
func asOtherUser(t *testing.T, role, socket string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can start a process of another user")
	}
	// Its path may lead through directories that are closed to the other user.
	cmd := exec.CommandContext(patiently(t), "/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+role, socketVariable+"="+socket)
	cmd.Stderr = os.Stderr
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: otherUser, Gid: otherUser}}
	t.Cleanup(func() {
		if cmd.Process != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

func TestPolicyRefusesAnotherUserOverUnix(t *testing.T) {
	dir := socketDir(t)
	socket := filepath.Join(dir, "s")
	cmd := asOtherUser(t, roleHost, socket)
	ln := listen(t, socket)
	// The file's mode would keep the other user out already.
	for path, mode := range map[string]os.FileMode{dir: 0o755, socket: 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	agent, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	peer, err := transport.Policy{}.Admit(agent)
	if want := (transport.Peer{Network: "unix", UID: otherUser, PID: cmd.Process.Pid, Listener: socket}); peer != want {
		t.Errorf("peer %+v, want %+v", peer, want)
	}
	if want := "peer is not allowed to connect: uid 65534 is neither root nor the agent's uid"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	_ = agent.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestListenUnixModeKeepsOtherUsersOut(t *testing.T) {
	dir := socketDir(t)
	socket := filepath.Join(dir, "s")
	cmd := asOtherUser(t, roleHost, socket)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	listen(t, socket)
	if err := cmd.Run(); err == nil || !strings.Contains(stderr.String(), "permission denied") {
		t.Errorf("the other user's program: %v: %s, want permission denied", err, stderr.String())
	}
}

func TestPolicyOfAnotherUsersAgentServesRoot(t *testing.T) {
	socket := filepath.Join(socketDir(t), "s")
	cmd, out := startOther(t, roleAgent, socket)
	target := unixTarget(socket)
	target.UID = otherUser
	conn, err := transport.Dial(patiently(t), target)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	said, err := io.ReadAll(out)
	if string(said) != "0 <nil>\n" || err != nil {
		t.Errorf("Admit says %q, %v", said, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestDialRefusesAnotherUsersServer(t *testing.T) {
	socket := filepath.Join(socketDir(t), "s")
	cmd, out := startOther(t, roleEars, socket)
	conn, err := transport.Dial(patiently(t), unixTarget(socket))
	want := "uid 65534 serves " + socket + ", want root or the current user (uid 0): nothing was sent; " +
		"if that user runs the agent, use unix://" + socket + "?uid=65534"
	if conn != nil || err == nil || err.Error() != want {
		t.Errorf("Dial = %v, %v; want %s", conn, err, want)
	}
	if said, err := io.ReadAll(out); string(said) != "0 bytes\n" || err != nil {
		t.Errorf("the server got %q, %v; want 0 bytes", said, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestDialRefusesAServerOtherThanAskedFor(t *testing.T) {
	ln := listen(t, filepath.Join(socketDir(t), "s"))
	target := unixTarget(ln.Addr().String())
	target.UID = otherUser
	conn, err := transport.Dial(patiently(t), target)
	want := fmt.Sprintf("uid %d serves %s, want uid 65534: nothing was sent", os.Geteuid(), target.Path)
	if conn != nil || err == nil || err.Error() != want {
		t.Errorf("Dial = %v, %v; want %s", conn, err, want)
	}
}
