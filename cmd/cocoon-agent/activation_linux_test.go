package main

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

// A socketUnit is a Unix socket that a test holds for agents, as systemd does.
type socketUnit struct {
	*net.UnixListener
	path string
}

func newSocketUnit(t *testing.T) *socketUnit {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir + "/s", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return &socketUnit{ln, dir + "/s"}
}

func (u *socketUnit) target() string { return "unix://" + u.path }

// file returns a copy of the socket.
func (u *socketUnit) file(t *testing.T) *os.File {
	t.Helper()
	f, err := u.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// passed is an agent that gets files, as sd_listen_fds(3) has it. It does not
// listen on vsock, whatever comes of that: it is told to listen elsewhere.
func passed(t *testing.T, listen string, files ...*os.File) *exec.Cmd {
	t.Helper()
	cmd := program(t, "serve", "--listen", listen)
	cmd.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	cmd.Env = append(cmd.Env, fmt.Sprintf("LISTEN_FDS=%d", len(files)), "LISTEN_FDNAMES=agent.socket:second")
	cmd.ExtraFiles = files
	return cmd
}

// activate starts an agent for the socket, and waits until it listens there.
func (u *socketUnit) activate(t *testing.T, also ...string) *exec.Cmd {
	t.Helper()
	cmd := passed(t, u.target(), u.file(t))
	cmd.Env = append(cmd.Env, also...)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	if err := listens(log); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// output runs a command over a connection that the test has.
func output(t *testing.T, conn net.Conn, argv ...string) string {
	t.Helper()
	c, err := client.NewClient(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	out, err := c.CommandContext(t.Context(), argv[0], argv[1:]...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func (u *socketUnit) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", u.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestAgentServesTheSocketThatIsPassed(t *testing.T) {
	u := newSocketUnit(t)
	u.activate(t)
	if got := output(t, u.dial(t), "echo", "hello"); got != "hello\n" {
		t.Errorf("echo prints %q, want %q", got, "hello\n")
	}
}

func TestNextAgentServesWaitingConnections(t *testing.T) {
	u := newSocketUnit(t)
	for range 3 {
		agent := u.activate(t)
		if got := output(t, u.dial(t), "echo", "before"); got != "before\n" {
			t.Errorf("echo prints %q, want %q", got, "before\n")
		}
		_ = agent.Process.Kill()
		_ = agent.Wait()
		waiting := u.dial(t)
		u.activate(t)
		if got := output(t, waiting, "echo", "after"); got != "after\n" {
			t.Errorf("echo over the waiting connection prints %q, want %q", got, "after\n")
		}
	}
}

func TestServeLeavesAPassedSocketsFileAlone(t *testing.T) {
	u := newSocketUnit(t)
	if err := os.Chmod(u.path, 0o640); err != nil {
		t.Fatal(err)
	}
	agent := u.activate(t)
	if err := agent.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := agent.Wait(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(u.path)
	if err != nil || info.Mode() != fs.ModeSocket|0o640 {
		t.Errorf("Lstat of the socket = %v, %v, want mode %v", info, err, fs.ModeSocket|0o640)
	}
}

func TestCommandsDoNotInheritTheAgentsSockets(t *testing.T) {
	u := newSocketUnit(t)
	u.activate(t, "NOTIFY_SOCKET="+newNotified(t).path, "WATCHDOG_USEC=60000000")
	got := output(t, u.dial(t), "sh", "-c", "env; ls -l /proc/self/fd")
	for _, what := range []string{"LISTEN_", "NOTIFY_", "WATCHDOG_", "socket:"} {
		if strings.Contains(got, what) {
			t.Errorf("a command has %s: %s", what, got)
		}
	}
}

func TestServeAlsoListensOnPassedSockets(t *testing.T) {
	u := newSocketUnit(t)
	cmd := passed(t, u.target()+".own", u.file(t))
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	if err := listens(log); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{u.path, u.path + ".own"} {
		if got := output(t, (&socketUnit{path: path}).dial(t), "echo", "hello"); got != "hello\n" {
			t.Errorf("echo over %s prints %q, want %q", path, got, "hello\n")
		}
	}
}

func TestServeRejectsNonSocketFD(t *testing.T) {
	good := newSocketUnit(t)
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	tcpFile, err := tcp.File()
	if err != nil {
		t.Fatal(err)
	}
	defer tcpFile.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, test := range map[string]struct {
		files []*os.File
		env   string
		want  string
	}{
		"tcp":        {[]*os.File{tcpFile}, "", `file descriptor 3 \(agent.socket\): socket of address family 2: want AF_VSOCK \(40\) or AF_UNIX \(1\)`},
		"file":       {[]*os.File{good.file(t), null}, "", `file descriptor 4 \(second\): not a listening socket: socket operation on non-socket`},
		"not open":   {[]*os.File{good.file(t)}, "LISTEN_FDS=1000000000", `LISTEN_FDS=1000000000: file descriptor \d+( \(second\))? is not open`},
		"no number":  {nil, "LISTEN_FDS=-1", `LISTEN_FDS="-1": want the number of sockets`},
		"without":    {nil, "LISTEN_FDS=", `LISTEN_FDS="": want the number of sockets`},
		"a name few": {[]*os.File{null}, "LISTEN_FDNAMES=", `file descriptor 3: not a listening socket: socket operation on non-socket`},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := passed(t, good.target()+".not", test.files...)
			cmd.Env = append(cmd.Env, test.env)
			out, _ := cmd.CombinedOutput()
			want := regexp.MustCompile("^cocoon-agent: sockets passed by systemd: " + test.want + "\n$")
			if status := cmd.ProcessState.ExitCode(); status != 1 || !want.Match(out) {
				t.Errorf("status %d: %s\nwant: %s", status, out, want)
			}
		})
	}
}

func TestServeIgnoresSocketsForAnotherProcess(t *testing.T) {
	target, _ := agentBy(t, func(cmd *exec.Cmd) *exec.Cmd {
		cmd.Env = append(cmd.Env, "LISTEN_PID=1", "LISTEN_FDS=1")
		return cmd
	})
	got := checks.Agent{Program: program(t).Path, Target: target}
	t.Setenv(asAgent, "1")
	if r := got.Client(t, nil, "sh", "-c", "env"); r.Status != 0 || strings.Contains(r.Stdout, "LISTEN_") {
		t.Errorf("client env: %+v, want status 0 and no LISTEN_", r)
	}
}

// systemd's own side of the protocol.
func TestAgentIsActivatedBySystemdSocketActivate(t *testing.T) {
	activate, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		t.Skip("no systemd-socket-activate: apt-get install systemd")
	}
	u := newSocketUnit(t)
	_ = u.Close() // its path alone is wanted
	cmd := program(t)
	cmd = exec.Command(activate, "--listen="+u.path, "--fdname=agent.socket", "--setenv="+asAgent+"=1",
		cmd.Path, "serve", "--listen", u.target())
	var log checks.Log
	cmd.Stderr = &log
	start(t, cmd)
	// It executes the agent at the first connection.
	eventually(t, "systemd-socket-activate listens", func() bool {
		_, err := os.Stat(u.path)
		return err == nil && strings.Contains(log.String(), "Listening on")
	})
	if got := output(t, u.dial(t), "sh", "-c", "echo hello; env | grep LISTEN_; true"); got != "hello\n" {
		t.Errorf("%q; log: %s", got, log.String())
	}
}

func TestAddressThatCannotBeHadLocksNobodyOut(t *testing.T) {
	u := newSocketUnit(t)
	agent := passed(t, "unix:///nonexistent/agent.sock", u.file(t))
	agent.Args = append(agent.Args, "--answer-if-invalid")
	log, err := agent.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, agent)
	if err := listens(log); err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(t.Context(), u.target())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Command("true").Run(); err == nil || !strings.Contains(err.Error(), "the agent's settings are invalid: listen on unix:///nonexistent/agent.sock") {
		t.Error(err)
	}
}
