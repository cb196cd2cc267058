package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/client"
)

// A guest is an agent whose guest a test breaks, and a command that ran before.
type guest struct {
	*client.Client
	target string
	pid    int // of the agent

	tell io.WriteCloser // the command's stdin
	says io.Reader
	cmd  *client.Cmd
}

// newGuest is told of the agent whose pid is cmd's.
func newGuest(t *testing.T, target string, cmd *exec.Cmd) *guest {
	t.Helper()
	c, err := client.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	g := &guest{Client: c, target: target, pid: cmd.Process.Pid}
	g.cmd = g.Command("sh", "-c", "while read -r line; do (echo $line); done")
	if g.tell, err = g.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if g.says, err = g.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g.lives(t)
	return g
}

// lives checks that the agent and the command that ran before go on.
func (g *guest) lives(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := g.Ping(ctx); err != nil {
		t.Fatalf("ping: %v", err)
	}
	if info, err := g.Info(ctx); err != nil || info.Kernel == "" || info.BootID == "" {
		t.Errorf("info: %+v, %v", info, err)
	}
	_, _ = io.WriteString(g.tell, "here\n")
	var answer [5]byte
	if _, err := io.ReadFull(g.says, answer[:]); err != nil || string(answer[:]) != "here\n" {
		t.Errorf("the command that ran before says %q, %v", answer, err)
	}
}

// recovers checks that all is as if nothing had happened.
func (g *guest) recovers(t *testing.T) {
	t.Helper()
	g.lives(t)
	g.works(t)
	_ = g.tell.Close()
	if err := g.cmd.Wait(); err != nil {
		t.Errorf("the command that ran before: %v", err)
	}
}

func (g *guest) works(t *testing.T) {
	t.Helper()
	if out, err := g.Command("sh", "-c", "(echo a); echo b").Output(); err != nil || string(out) != "a\nb\n" {
		t.Errorf("a command: %q, %v", out, err)
	}
}

func wantRefused(t *testing.T, err error, kind client.Kind, text string) {
	t.Helper()
	refused, ok := errors.AsType[*client.RemoteError](err)
	if !ok || refused.Kind != kind || !strings.Contains(refused.Message, text) {
		t.Errorf("got %v (%T), want %s: %s", err, err, kind, text)
	}
}

// limit sets the soft limit of another process, and returns what it was.
func limit(t *testing.T, pid, resource int, n uint64) (before uint64) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Prlimit(pid, resource, nil, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(pid, resource, &unix.Rlimit{Cur: n, Max: old.Max}, nil); err != nil {
		t.Fatal(err)
	}
	return old.Cur
}

// descriptors counts them, but for those of cgroups: how many are ready varies.
func descriptors(t *testing.T, pid int) (n int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if path, _ := os.Readlink(filepath.Join(dir, fd.Name())); !strings.Contains(path, "/cocoon-agent.") {
			n++
		}
	}
	return n
}

func TestOutOfDescriptors(t *testing.T) {
	target, cmd := agent(t)
	g := newGuest(t, target, cmd)
	g.works(t)
	victim := g.Command("sh", "-c", "sleep 1000 & sleep 1000")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t, g.pid)
	old := limit(t, g.pid, unix.RLIMIT_NOFILE, 3)

	for range 20 {
		wantRefused(t, g.Command("true").Run(), client.Limit, "too many open files")
	}
	as := g.Command("true")
	as.User = "nobody"
	wantRefused(t, as.Run(), client.Limit, "too many open files")
	tty := g.Command("true")
	tty.TTY = &client.TTY{}
	wantRefused(t, tty.Run(), client.Limit, "too many open files")
	_, err := g.DialGuest(t.Context(), "unix", strings.TrimPrefix(target, "unix://"))
	wantRefused(t, err, client.Limit, "too many open files")
	g.lives(t)
	if now := descriptors(t, g.pid); now != before {
		t.Errorf("%d descriptors have become %d", before, now)
	}
	if err := victim.Kill(); err != nil {
		t.Error(err)
	}
	if exit, ok := errors.AsType[*client.ExitError](victim.Wait()); !ok || exit.Reason() != "killed" {
		t.Errorf("the end of a command: %v", exit)
	}
	late := make(chan error, 1)
	go func() { // ends with the test's context, at the latest
		c, err := client.Dial(t.Context(), target)
		if err == nil {
			err = errors.Join(c.Ready(t.Context()), c.Command("true").Run(), c.Close())
		}
		late <- err
	}()
	for range 20 { // while it waits
		wantRefused(t, g.Command("true").Run(), client.Limit, "too many open files")
	}

	limit(t, g.pid, unix.RLIMIT_NOFILE, old)
	if err := <-late; err != nil {
		t.Errorf("a host that has waited: %v", err)
	}
	g.recovers(t)
	eventually(t, "the descriptors are back", func() bool { return descriptors(t, g.pid) <= before })
}

// A shortage that leaves a descriptor or two hits each place where one is opened.
func TestEachDescriptorTooFew(t *testing.T) {
	target, cmd := agent(t)
	g := newGuest(t, target, cmd)
	before := descriptors(t, g.pid)
	refused := 0
	for n := before; ; n++ {
		old := limit(t, g.pid, unix.RLIMIT_NOFILE, uint64(n))
		var out bytes.Buffer
		c := g.Command("echo", "done")
		c.Stdin, c.Stdout, c.Stderr = strings.NewReader("in"), &out, new(bytes.Buffer)
		if os.Geteuid() == 0 {
			c.User = "nobody:nogroup"
		}
		err := c.Run()
		limit(t, g.pid, unix.RLIMIT_NOFILE, old)
		if err == nil {
			if out.String() != "done\n" {
				t.Errorf("it said %q", &out)
			}
			break
		}
		wantRefused(t, err, client.Limit, "too many open files")
		refused++
		if refused > 40 {
			t.Fatal("it never works")
		}
	}
	if refused < 5 {
		t.Errorf("only %d refusals", refused)
	}
	g.recovers(t)
}

// agentOf starts an agent as an ordinary user of its own.
func agentOf(t *testing.T, uid uint32) (string, *exec.Cmd) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can start an agent as another user")
	}
	target, cmd := agentBy(t, func(cmd *exec.Cmd) *exec.Cmd {
		dir := filepath.Dir(strings.TrimPrefix(cmd.Args[len(cmd.Args)-1], "unix://"))
		if err := os.Chown(dir, int(uid), int(uid)); err != nil {
			t.Fatal(err)
		}
		cmd.Path = "/proc/self/exe" // this program's directory may be closed to others
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		cmd.Dir = "/"
		return cmd
	})
	return fmt.Sprintf("%s?uid=%d", target, uid), cmd
}

// processes sets how many the agent's user may have. That is asked for as this
// user: root alone need not be allowed to.
func processes(t *testing.T, agent *exec.Cmd, n string) {
	t.Helper()
	prlimit := exec.Command("prlimit", "--pid", strconv.Itoa(agent.Process.Pid), "--nproc="+n+":")
	prlimit.SysProcAttr = &syscall.SysProcAttr{Credential: agent.SysProcAttr.Credential}
	prlimit.Dir = "/"
	if out, err := prlimit.CombinedOutput(); err != nil {
		t.Fatalf("prlimit: %v: %s", err, out)
	}
}

func TestOutOfProcesses(t *testing.T) {
	target, cmd := agentOf(t, 54321)
	g := newGuest(t, target, cmd)
	before := descriptors(t, g.pid)
	processes(t, cmd, "1")
	for range 5 {
		const many = 64
		errs := make(chan error, many)
		for range many {
			go func() { // ends by the agent's answer
				c := g.Command("true")
				c.Stdout, c.Stderr = new(bytes.Buffer), new(bytes.Buffer)
				errs <- c.Run()
			}()
		}
		for range many {
			wantRefused(t, <-errs, client.Limit, "resource temporarily unavailable")
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := g.Ping(ctx); err != nil {
			t.Fatalf("ping: %v", err)
		}
		cancel()
	}
	processes(t, cmd, "1000")
	eventually(t, "the descriptors are back", func() bool { return descriptors(t, g.pid) <= before })
	g.recovers(t)
}

func TestLogThatNobodyReads(t *testing.T) {
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	target := "unix://" + dir + "/s"
	cmd := program(t, "serve", "--listen", target)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	if err := listens(log); err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, target, cmd)
	_ = log.Close()
	g.recovers(t)
	out, err := g.Command("sh", "-c", "kill -PIPE $$; echo lives").Output()
	if exit, ok := errors.AsType[*client.ExitError](err); !ok || exit.Error() != "signal PIPE" {
		t.Errorf("SIGPIPE in a command: %q, %v", out, err)
	}
}

func TestFewDescriptorsAreToldAtTheStart(t *testing.T) {
	serve := program(t, "serve", "--listen", "unix://"+t.TempDir()+"/s")
	cmd := exec.Command("sh", append([]string{"-c", `ulimit -n 100 && exec "$0" "$@"`}, serve.Args...)...)
	cmd.Env = serve.Env
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	lines := bufio.NewScanner(log)
	for told := false; !told; told = strings.Contains(lines.Text(), `"limit":100,"wanted":256`) {
		if !lines.Scan() {
			t.Fatal("the log does not say so")
		}
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
}
