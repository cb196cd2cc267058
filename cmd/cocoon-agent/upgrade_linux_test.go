package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/e2e/checks"
	"github.com/cocoonstack/cocoon-agent/internal/hangtest"
)

// An upgradable is an agent with a control socket.
type upgradable struct {
	*checks.Served
	target, control string
}

func newUpgradable(t *testing.T, env ...string) *upgradable {
	t.Helper()
	return newUpgradableWith(t, nil, env...)
}

// newUpgradableWith is newUpgradable with more options, in which DIR stands for its directory.
func newUpgradableWith(t *testing.T, options []string, env ...string) *upgradable {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	u := &upgradable{target: "unix://" + dir + "/s", control: dir + "/c"}
	cmd := program(t, "serve", "--listen", u.target, "--control", u.control, "--max-kept", "4096", "--max-execs", "8192")
	for _, o := range options {
		cmd.Args = append(cmd.Args, strings.ReplaceAll(o, "DIR", dir))
	}
	cmd.Env = append(cmd.Env, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	log := new(checks.Log)
	cmd.Stderr = log
	start(t, cmd)
	u.Served = &checks.Served{Cmd: cmd, Log: log}
	eventually(t, "the agent answers", func() bool {
		c, err := client.Dial(t.Context(), u.target)
		if err != nil {
			return false
		}
		defer c.Close()
		return c.Ping(t.Context()) == nil
	})
	return u
}

// upgrade asks the agent to become another program.
func (u *upgradable) upgrade(t *testing.T, program string, force bool) (upgradeAnswer, error) {
	t.Helper()
	c := upgradeCommand{Control: u.control, Timeout: patience}
	a, err := c.ask(upgradeRequest{Program: program, Force: force})
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	return a, err
}

// self is a program that can take over: this one.
func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// limitOf returns the soft limit of open files of a process.
func limitOf(t *testing.T, pid int) (l unix.Rlimit) {
	t.Helper()
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &l); err != nil {
		t.Fatal(err)
	}
	return l
}

// hangUps sends SIGHUP until the test ends.
func hangUps(t *testing.T, pid int) {
	t.Helper()
	done := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				_ = syscall.Kill(pid, syscall.SIGHUP)
			}
		}
	})
	t.Cleanup(func() { close(done); sending.Wait() })
}

func upgradeSize(ci, nightly int) int {
	if os.Getenv("OUTLIVE_STRESS") != "" {
		return nightly
	}
	return ci
}

// pipes is a program of three pipes: it ends with the last line of its input as its status.
const pipesScript = `while read -r line; do echo "out $line"; echo "err $line" >&2; last=$line; done; exit "$last"`

func TestUpgradeKeepsCommandsAndSockets(t *testing.T) {
	u := newUpgradable(t)
	c := dialed(t, u.target)
	many := upgradeSize(200, 2000)
	type command struct {
		handle []byte
		tty    bool
	}
	var all []command
	for i := range many + 20 {
		cmd := c.Command("sh", "-c", pipesScript)
		cmd.Outlive = client.Outlive{Detach: true, Ring: 4096}
		if tty := i >= many; tty {
			cmd.TTY = &client.TTY{Rows: 30, Cols: 100}
			cmd.Args = []string{"sh", "-c", "stty -echo; read -r a; stty size; exit 40"}
		}
		if _, err := cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, command{cmd.Handle(), i >= many})
	}
	before, hello := helloOf(t, c)
	ran, stop := u.keepBusy(t)
	hangUps(t, u.Process.Pid)
	limit := limitOf(t, u.Process.Pid)
	for range 2 {
		answer, err := u.upgrade(t, self(t), false)
		if err != nil {
			t.Fatalf("upgrade: %v\n%s", err, u.Log)
		}
		if answer.Commands != len(all) {
			t.Errorf("upgrade keeps %d commands, want %d", answer.Commands, len(all))
		}
		t.Logf("%d commands, %v of silence", answer.Commands, time.Duration(answer.SilenceUS)*time.Microsecond)
		done := ran.Load() // a start is tried again once, and not after a second upgrade
		eventually(t, "commands run", func() bool { return ran.Load() > done+1 || t.Failed() })
	}
	stop()
	if got := limitOf(t, u.Process.Pid); got != limit {
		t.Errorf("limits of the agent %+v, want %+v", got, limit)
	}
	c = dialed(t, u.target)
	now, again := helloOf(t, c)
	if again.AgentID != hello.AgentID || now.ExecsRunning != before.ExecsRunning || now.ExecsStarted < before.ExecsStarted {
		t.Errorf("the agent is %s with %+v, want %s with %+v", again.AgentID, now, hello.AgentID, before)
	}
	for i, x := range all {
		cmd := c.Attach(t.Context(), x.handle)
		status := strconv.Itoa(i % 100)
		cmd.Stdin = strings.NewReader("hello\n" + status + "\n")
		want := "out hello\nout " + status + "\n"
		if x.tty {
			status, want = "40", "30 100\r\n"
		}
		var stdout, stderr bytes.Buffer
		cmd.Stdout = &stdout
		if !x.tty {
			cmd.Stderr = &stderr
		}
		err := cmd.Run()
		exit, _ := errors.AsType[*client.ExitError](err)
		if (exit == nil) != (status == "0") || exit != nil && strconv.Itoa(exit.ExitCode()) != status {
			t.Fatalf("command %d: %v, want exit status %s", i, err, status)
		}
		if !strings.HasSuffix(stdout.String(), want) || !x.tty && stderr.String() != strings.ReplaceAll(want, "out", "err") {
			t.Fatalf("command %d: stdout %q, stderr %q, want %q", i, &stdout, &stderr, want)
		}
	}
	out, err := c.Command("sh", "-c", "ulimit -Sn").Output()
	if err != nil || strings.TrimSpace(string(out)) != strconv.FormatUint(limitOf(t, os.Getpid()).Cur, 10) && strings.TrimSpace(string(out)) != startLimit(t) {
		t.Errorf("a command's limit of open files is %q, %v, want %s", out, err, startLimit(t))
	}
}

// keepBusy connects and runs commands until stop is called. None fails.
func (u *upgradable) keepBusy(t *testing.T) (ran *atomic.Int64, stop func()) {
	t.Helper()
	pool := client.NewPool(client.PoolConfig{})
	done := make(chan struct{})
	var busy sync.WaitGroup
	ran = new(atomic.Int64)
	repeat := func(do func() error) {
		for {
			select {
			case <-done:
				return
			default:
			}
			if err := do(); err != nil {
				t.Errorf("beside an upgrade: %v", err)
				return
			}
			ran.Add(1)
		}
	}
	busy.Go(func() {
		repeat(func() error {
			c, err := pool.Get(t.Context(), u.target)
			if err != nil {
				return err
			}
			return c.Command("true").Run()
		})
	})
	busy.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			conn, err := net.Dial("unix", strings.TrimPrefix(u.target, "unix://"))
			if err != nil {
				t.Errorf("a connection was refused: %v", err)
				return
			}
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
			_, _ = conn.Read(make([]byte, 1)) // leaves the agent time for others
			_ = conn.Close()
		}
	})
	return ran, func() {
		close(done)
		busy.Wait()
		_ = pool.Close()
		if ran.Load() == 0 {
			t.Error("nothing has run beside the upgrade")
		}
	}
}

// helloOf returns the counters of an agent, and its greeting.
func helloOf(t *testing.T, c *client.Client) (client.AgentInfo, client.Hello) {
	t.Helper()
	i, err := c.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h, err := c.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return i.Agent, h
}

// startLimit returns the limit of open files that this program was started with, as its children have it.
func startLimit(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", "ulimit -Sn").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// A command that would end with its connection is not ended, unless it is asked for.
func TestUpgradeWaitsForCommandsThatWouldEnd(t *testing.T) {
	u := newUpgradable(t)
	c := dialed(t, u.target)
	cmd := c.Command("sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	if _, err := u.upgrade(t, self(t), false); err == nil || !strings.Contains(err.Error(), `running commands ("sh") would be ended`) {
		t.Errorf("upgrade: %v, want a refusal", err)
	}
	if err := c.Command("true").Run(); err != nil {
		t.Errorf("the connection is of no use after a refusal: %v", err)
	}
	short := c.Command("sleep", "1")
	short.Outlive.Detach = true
	if err := short.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := u.upgrade(t, self(t), true); err != nil {
		t.Errorf("upgrade with force: %v\n%s", err, u.Log)
	}
	if exit, ok := errors.AsType[*client.ExitError](cmd.Wait()); !ok || exit.ExitCode() != 5 || exit.Reason() != client.ReasonShutdown {
		t.Errorf("the command: %+v, want exit status 5 for the reason shutdown", exit)
	}
	if err := dialed(t, u.target).Attach(t.Context(), short.Handle()).Run(); err != nil {
		t.Errorf("the detached command: %v", err)
	}
}

func TestUpgradeEndsStartThatHangs(t *testing.T) {
	u := newUpgradable(t)
	holding(t, u.target)
	p := hangtest.NewProgram(t)
	held := dialed(t, u.target).Command(p.Path())
	held.Outlive.Detach = true
	ended := make(chan error, 1)
	go func() { ended <- held.Run() }() // ends with the upgrade
	pid := p.Await(t)
	if _, err := u.upgrade(t, self(t), false); err != nil {
		t.Errorf("upgrade: %v\n%s", err, u.Log)
	}
	if err := within(t, "the end of the start", func() error { return <-ended }); err == nil {
		t.Error("a start that hangs has succeeded")
	}
	eventually(t, "the process is gone", func() bool { return gone(strconv.Itoa(pid)) })
}

// A daemon that a command has left behind is not the agent's to end.
func TestUpgradeLeavesDaemonsAlone(t *testing.T) {
	u := newUpgradable(t)
	c := dialed(t, u.target)
	out, err := c.Command("sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	daemon := strings.TrimSpace(string(out))
	n, _ := strconv.Atoi(daemon)
	t.Cleanup(func() { _ = syscall.Kill(n, syscall.SIGKILL) })
	if _, err := u.upgrade(t, self(t), false); err != nil {
		t.Fatalf("upgrade: %v\n%s", err, u.Log)
	}
	if gone(daemon) {
		t.Error("a daemon that a command has left behind has been ended")
	}
}

// detached starts a shell script that outlives its connection, and waits until it has said ready.
func (u *upgradable) detached(t *testing.T, script string, change func(*client.Cmd)) *client.Cmd {
	t.Helper()
	cmd := dialed(t, u.target).Command("sh", "-c", script)
	cmd.Outlive.Detach = true
	if change != nil {
		change(cmd)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestUpgradeKeepsRecordsKeysAndTimes(t *testing.T) {
	t.Parallel() // with other tests that wait
	u := newUpgradable(t)
	ended := u.detached(t, "echo ready; exit 5", nil)
	_ = ended.Wait()
	keyed := u.detached(t, "echo ready; exec sleep 1000", func(c *client.Cmd) { c.Outlive.Key = "one" })
	timed := u.detached(t, "echo ready; exec sleep 1000", func(c *client.Cmd) { c.Timeout = 1500 * time.Millisecond })
	killed := u.detached(t, "trap 'echo term' TERM; echo ready; while :; do sleep 0.1; done", nil)
	kept := u.detached(t, "echo ready; sleep 1000", func(c *client.Cmd) { c.Outlive.Detach, c.Keep = false, true })
	t.Cleanup(func() { _ = syscall.Kill(-kept.PID(), syscall.SIGKILL) }) // it would outlive the agent
	c := dialed(t, u.target)
	if err := c.KillExec(t.Context(), killed.Handle(), false); err != nil {
		t.Fatal(err)
	}
	if _, err := u.upgrade(t, self(t), false); err != nil {
		t.Fatalf("upgrade: %v\n%s", err, u.Log)
	}
	c = dialed(t, u.target)
	var out bytes.Buffer
	if err := c.Logs(t.Context(), ended.Handle(), &out, nil, client.LogOptions{}); err != nil || out.String() != "ready\n" {
		t.Errorf("output of an ended command: %q, %v", &out, err)
	}
	if x, err := c.FindExec(t.Context(), ended.Handle()); err != nil || x.ExitStatus != 5 {
		t.Errorf("record of an ended command: %+v, %v, want exit status 5", x, err)
	}
	again := c.Command("sh", "-c", "echo ready; exec sleep 1000")
	again.Outlive = keyed.Outlive
	if _, err := again.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := again.Start(); err != nil || !again.Repeated() || again.PID() != keyed.PID() {
		t.Errorf("a key that is known: %v, repeated %t, pid %d, want %d", err, again.Repeated(), again.PID(), keyed.PID())
	}
	if x, err := c.FindExec(t.Context(), kept.Handle()); err != nil || x.End != "" || x.Connected || x.PID != kept.PID() {
		t.Errorf("a kept command: %+v, %v, want one that runs", x, err)
	}
	for _, cmd := range []*client.Cmd{kept, keyed} {
		if err := c.KillExec(t.Context(), cmd.Handle(), true); err != nil {
			t.Error(err)
		}
	}
	wantEnd := func(cmd *client.Cmd, reason client.Reason, want string) {
		t.Helper()
		a := c.Attach(t.Context(), cmd.Handle())
		var out bytes.Buffer
		a.Stdout = &out
		exit, ok := errors.AsType[*client.ExitError](a.Run())
		if !ok || exit.Reason() != reason || out.String() != want {
			t.Errorf("%v with %q, want the reason %s with %q", exit, &out, reason, want)
		}
	}
	wantEnd(keyed, client.ReasonKilled, "ready\n")
	wantEnd(timed, client.ReasonTimeout, "ready\n")
	wantEnd(killed, client.ReasonKilled, "ready\nterm\n")
}
