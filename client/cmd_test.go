//go:build linux

package client_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
)

func TestOutputReturnsWhatTheCommandWrites(t *testing.T) {
	c, _ := dial(t)
	out, err := c.Command("echo", "hello", "world").Output()
	if err != nil || string(out) != "hello world\n" {
		t.Fatalf("output %q, error %v", out, err)
	}
}

func TestExitCodeAndStderrComeBack(t *testing.T) {
	c, _ := dial(t)
	for _, code := range []int{0, 1, 7, 126, 127, 255} {
		_, err := c.Command("sh", "-c", fmt.Sprintf("echo oops >&2; exit %d", code)).Output()
		if code == 0 {
			if err != nil {
				t.Errorf("code 0: %v", err)
			}
			continue
		}
		exit := wantExit(t, err, code)
		if string(exit.Stderr) != "oops\n" || exit.Reason() != "exit" || exit.ExitCode() != code {
			t.Errorf("code %d: stderr %q, reason %q, code %d", code, exit.Stderr, exit.Reason(), exit.ExitCode())
		}
	}
}

func TestDeathBySignalIsToldFromAnExit(t *testing.T) {
	c, _ := dial(t)
	exit := wantExit(t, c.Command("sh", "-c", "kill -KILL $$").Run(), 137)
	if exit.Signal() != "KILL" || exit.ExitCode() != -1 || exit.Reason() != "signal" || exit.Error() != "signal KILL" {
		t.Errorf("signal %q, code %d, reason %q, error %q", exit.Signal(), exit.ExitCode(), exit.Reason(), exit)
	}
}

func TestUsageOfTheProcessIsReported(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	s := cmd.ProcessState
	if s.UserTime()+s.SystemTime() <= 0 || s.MaxRSS() == 0 || s.Pid() <= 0 {
		t.Errorf("user %v, system %v, max RSS %d, pid %d", s.UserTime(), s.SystemTime(), s.MaxRSS(), s.Pid())
	}
}

func TestRefusalsAreRemoteErrors(t *testing.T) {
	c, _ := dial(t)
	for name, tc := range map[string]struct {
		set  func(*client.Cmd)
		kind client.Kind
	}{
		"no such command":   {func(c *client.Cmd) { c.Args = []string{"no-such-command"} }, client.NotFound},
		"no such file":      {func(c *client.Cmd) { c.Args = []string{"/no/such/file"} }, client.NotFound},
		"not executable":    {func(c *client.Cmd) { c.Args = []string{"/etc/passwd"} }, client.PermissionDenied},
		"no such directory": {func(c *client.Cmd) { c.Dir = "/no/such/dir" }, client.BadRequest},
		"relative dir":      {func(c *client.Cmd) { c.Dir = "tmp" }, client.BadRequest},
		"no such user":      {func(c *client.Cmd) { c.User = "no-such-user" }, client.BadRequest},
		"bad environment":   {func(c *client.Cmd) { c.Env = []string{"NOVALUE"} }, client.BadRequest},
		"NUL byte":          {func(c *client.Cmd) { c.Args = []string{"echo", "a\x00b"} }, client.BadRequest},
		"empty command":     {func(c *client.Cmd) { c.Args = []string{""} }, client.NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := c.Command("true")
			cmd.Stdin, cmd.Stdout = strings.NewReader("input"), io.Discard
			tc.set(cmd)
			wantKind(t, cmd.Run(), tc.kind)
		})
	}
}

func TestStdinStdoutRoundTripKeepsEveryByte(t *testing.T) {
	c, _ := dial(t)
	in := make([]byte, 64<<20)
	_, _ = rand.Read(in)
	got := sha256.New()
	cmd := c.Command("cat")
	cmd.Stdin, cmd.Stdout = bytes.NewReader(in), got
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if want := sha256.Sum256(in); !bytes.Equal(got.Sum(nil), want[:]) {
		t.Error("the hashes differ")
	}
}

func TestCombinedOutputKeepsTheOrderOfWrites(t *testing.T) {
	c, _ := dial(t)
	out, err := c.Command("sh", "-c", "for i in 1 2 3 4 5; do echo o$i; echo e$i >&2; done").CombinedOutput()
	if want := "o1\ne1\no2\ne2\no3\ne3\no4\ne4\no5\ne5\n"; err != nil || string(out) != want {
		t.Fatalf("output %q, error %v", out, err)
	}
}

func TestNilStreamsAreDevNull(t *testing.T) {
	c, _ := dial(t)
	out, err := c.Command("sh", "-c", "readlink /proc/self/fd/0; echo thrown away >&2").Output()
	if err != nil || string(out) != "/dev/null\n" {
		t.Fatalf("stdin is %q, error %v", out, err)
	}
	if err := c.Command("sh", "-c", "head -c 10000000 /dev/zero").Run(); err != nil {
		t.Fatalf("with output that nobody wants: %v", err)
	}
}

func TestEnvironmentDirectoryAndUser(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("sh", "-c", "echo $FOO; pwd; echo ${HOME:-none}")
	cmd.Env, cmd.ClearEnv, cmd.Dir = []string{"FOO=first", "FOO=last"}, true, "/usr"
	out, err := cmd.Output()
	if err != nil || string(out) != "last\n/usr\nnone\n" {
		t.Fatalf("output %q, error %v", out, err)
	}
}

func TestPipesLikeOSExec(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("sh", "-c", "tr a-z A-Z; echo done >&2")
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	stderr, err3 := cmd.StderrPipe()
	if err := errors.Join(err1, err2, err3, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	_, err1 = io.WriteString(stdin, "hello")
	err2 = stdin.Close()
	out, err3 := io.ReadAll(stdout)
	errOut, err4 := io.ReadAll(stderr)
	if err := errors.Join(err1, err2, err3, err4, cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	if string(out) != "HELLO" || string(errOut) != "done\n" {
		t.Errorf("stdout %q, stderr %q", out, errOut)
	}
	if _, err := stdin.Write([]byte("x")); err == nil {
		t.Error("a write to stdin after Wait succeeded")
	}
}

func TestStdinThatBlocksForEverDoesNotHoldWaitUp(t *testing.T) {
	c, _ := dial(t)
	r, w := io.Pipe()
	defer w.Close()
	cmd := c.Command("true")
	cmd.Stdin = r
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
}

func TestUnreadInputIsDiscarded(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("sh", "-c", "exec <&-; read line < /proc/1/comm; echo ended")
	cmd.Stdin = io.LimitReader(zeros{}, 8<<20)
	out, err := cmd.Output()
	if err != nil || string(out) != "ended\n" {
		t.Fatalf("output %q, error %v", out, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)  { return 0, f.err }
func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestWaitReturnsTheErrorOfAFailingWriter(t *testing.T) {
	c, _ := dial(t)
	disk := errors.New("disk full")
	cmd := c.Command("sh", "-c", "echo x; exec sleep 1000")
	cmd.Stdout = failing{disk}
	if err := cmd.Run(); !errors.Is(err, disk) {
		t.Fatalf("error %v", err)
	}
	agenttest.Eventually(t, "the command is gone", func() bool { return gone(fmt.Sprint(cmd.PID())) })
}

func TestWaitReturnsTheErrorOfAFailingReader(t *testing.T) {
	c, _ := dial(t)
	broken := errors.New("tape torn")
	var out bytes.Buffer
	cmd := c.Command("sh", "-c", "cat; echo end of input")
	cmd.Stdin, cmd.Stdout = io.MultiReader(strings.NewReader("begin\n"), failing{broken}), &out
	if err := cmd.Run(); !errors.Is(err, broken) {
		t.Fatalf("error %v", err)
	}
	if strings.Contains(out.String(), "end of input") {
		t.Error("the command took a broken input for one that had ended")
	}
}

func TestCancelledContextEndsTheWholeTree(t *testing.T) {
	c, _ := dial(t)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := c.CommandContext(ctx, "sh", "-c", "sleep 1000 & echo $!; wait")
	stdout, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	child := make([]byte, 16)
	n, err := stdout.Read(child)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	err = cmd.Wait()
	exit := wantExit(t, err, 128+int(syscall.SIGTERM))
	if exit.Reason() != "killed" || !errors.Is(err, context.Canceled) {
		t.Errorf("reason %q, error %v", exit.Reason(), err)
	}
	agenttest.Eventually(t, "the child is gone", func() bool { return gone(strings.TrimSpace(string(child[:n]))) })
}

func TestTimeoutIsKeptByTheAgent(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("sleep", "1000")
	cmd.Timeout = time.Second
	if exit := wantExit(t, cmd.Run(), 143); exit.Reason() != "timeout" {
		t.Errorf("reason %q", exit.Reason())
	}
}

func TestSignalReachesTheCommand(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("sh", "-c", `trap 'echo got it; exit 9' USR1; echo ready; while :; do sleep 0.01; done`)
	stdout, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(stdout, ready); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Signal(client.SignalName("USR1")); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(stdout)
	if err != nil || string(rest) != "got it\n" {
		t.Errorf("output %q, error %v", rest, err)
	}
	wantExit(t, cmd.Wait(), 9)
	wantKind(t, cmd.Signal(syscall.SIGTERM), client.NotFound)
}

func TestKillIsAtOnce(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("sh", "-c", `trap '' TERM; while :; do sleep 1; done`)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Kill(); err != nil {
		t.Fatal(err)
	}
	if exit := wantExit(t, cmd.Wait(), 137); exit.Reason() != "killed" {
		t.Errorf("reason %q", exit.Reason())
	}
}

func TestHundredsOfCommandsAtOnceKeepApart(t *testing.T) {
	c, _ := dial(t)
	const n = 300
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			cmd := c.Command("sh", "-c", fmt.Sprintf("cat; echo %d; exit %d", i, i%200))
			cmd.Stdin = strings.NewReader(fmt.Sprintf("input %d\n", i))
			out, err := cmd.Output()
			if want := fmt.Sprintf("input %d\n%d\n", i, i); string(out) != want {
				t.Errorf("output %q, want %q", out, want)
			}
			exit, _ := errors.AsType[*client.ExitError](err)
			if code := i % 200; (code == 0) != (err == nil) || code != 0 && (exit == nil || exit.ExitCode() != code) {
				t.Errorf("command %d: %v", i, err)
			}
		})
	}
	all.Wait()
}

func TestStalledStreamsDelayNobodyElse(t *testing.T) {
	c, _ := dial(t)
	var stalled []*client.Cmd
	for range 20 {
		// One that nobody reads, and that does not read its stdin.
		cmd := c.Command("sh", "-c", "yes")
		_, err1 := cmd.StdoutPipe()
		stdin, err2 := cmd.StdinPipe()
		if err := errors.Join(err1, err2, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(stdin, zeros{}) }() // ended by Wait
		stalled = append(stalled, cmd)
	}
	for range 20 {
		out, err := c.CommandContext(patiently(t), "echo", "through").Output()
		if err != nil || string(out) != "through\n" {
			t.Fatalf("output %q, error %v", out, err)
		}
	}
	if err := c.Ping(patiently(t)); err != nil {
		t.Error(err)
	}
	var all sync.WaitGroup
	for _, cmd := range stalled {
		all.Go(func() {
			if err := cmd.Kill(); err != nil {
				t.Error(err)
			}
			wantExit(t, cmd.Wait(), 137)
		})
	}
	all.Wait()
}
