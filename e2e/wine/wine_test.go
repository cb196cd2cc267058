//go:build e2e && linux

package wine_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

// command makes a command that plays a role.
func command(t *testing.T, c *client.Client, role string, args ...string) *client.Cmd {
	t.Helper()
	argv := as(role, args...)
	return c.CommandContext(patiently(t), argv[0], argv[1:]...)
}

func wantExit(t *testing.T, err error, code int) *client.ExitError {
	t.Helper()
	exit, ok := errors.AsType[*client.ExitError](err)
	if !ok || exit.ExitCode() != code {
		t.Fatalf("%v, want exit code %d", err, code)
	}
	return exit
}

func TestExitCodesCostNoOtherCommand(t *testing.T) {
	c := the.Dial(t)
	other := command(t, c, "cat")
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	other.Stdout = &out
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	for _, code := range []uint32{7, 259, 0xC0000005, 0xFFFFFFFF} {
		wantExit(t, command(t, c, "exit", strconv.FormatUint(uint64(code), 10)).Run(), int(code))
	}
	if err := command(t, c, "exit", "0").Run(); err != nil {
		t.Error(err)
	}
	_, _ = io.WriteString(in, "still there")
	_ = in.Close()
	if err := other.Wait(); err != nil || out.String() != "still there" {
		t.Errorf("Wait = %v, output %q, want %q", err, out.String(), "still there")
	}
}

func TestProgramHasShellsStatuses(t *testing.T) {
	for _, program := range []string{clientProgram, oldProgram} {
		for _, test := range []struct {
			code   uint32
			status int
			says   string
		}{
			{0, 0, ""},
			{7, 7, ""},
			{259, 3, "0x00000103"},
			{0xC0000005, 5, "0xc0000005"},
			{0xFFFFFFFF, 255, "0xffffffff"},
		} {
			argv := append([]string{"client", "--target", the.Target, "--"}, as("exit", strconv.FormatUint(uint64(test.code), 10))...)
			said, err := exec.CommandContext(patiently(t), program, argv...).CombinedOutput()
			status := 0
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				status = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if program == oldProgram { // it knows no code above 255
				if (status == 0) != (test.code == 0) {
					t.Errorf("old client, exit code %d: status %d, %s", test.code, status, said)
				}
				continue
			}
			if status != test.status || !strings.Contains(string(said), test.says) || test.says == "" && len(said) > 0 {
				t.Errorf("exit code %d: status %d, %q; want %d and %q", test.code, status, said, test.status, test.says)
			}
		}
	}
}

func TestThreeStreams(t *testing.T) {
	c := the.Dial(t)
	both := command(t, c, "both")
	var stdout, stderr strings.Builder
	both.Stdout, both.Stderr = &stdout, &stderr
	if err := both.Run(); err != nil || stdout.String() != "to stdout" || stderr.String() != "to stderr" {
		t.Errorf("outputs %q and %q, %v, want %q and %q", stdout.String(), stderr.String(), err, "to stdout", "to stderr")
	}
}

func TestSixteenMegabytesComeBack(t *testing.T) {
	cat := command(t, the.Dial(t), "cat")
	noise := make([]byte, 16<<20)
	_, _ = rand.NewChaCha8([32]byte{16}).Read(noise)
	cat.Stdin = bytes.NewReader(noise)
	got, err := cat.Output()
	if err != nil || sha256.Sum256(got) != sha256.Sum256(noise) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestFiftyAtOnceOnOneConnection(t *testing.T) {
	c := the.Dial(t)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			cat := command(t, c, "cat")
			word := fmt.Sprint("word ", i)
			cat.Stdin = strings.NewReader(word)
			if got, err := cat.Output(); string(got) != word || err != nil {
				t.Errorf("cat = %q, %v, want %q", got, err, word)
			}
		})
	}
	all.Wait()
}

// pids are of the three processes of a role "tree", which has been started.
func pids(t *testing.T, c *client.Client, tree *client.Cmd) []string {
	t.Helper()
	var out lockedBuffer
	tree.Stdout = &out
	if err := tree.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "three processes", func() bool { return strings.Count(out.String(), "\n") == 3 })
	all := strings.Fields(out.String())
	for _, pid := range all {
		if !runs(t, c, pid) {
			t.Error("it does not run: ", pid)
		}
	}
	return all
}

// runs reports whether a process runs in the guest.
func runs(t *testing.T, c *client.Client, pid string) bool {
	t.Helper()
	err := command(t, c, "runs", pid).Run()
	if _, ok := errors.AsType[*client.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return err == nil
}

func wantGone(t *testing.T, pids []string) {
	t.Helper()
	c := the.Dial(t)
	for _, pid := range pids {
		eventually(t, pid+" is gone", func() bool { return !runs(t, c, pid) })
	}
}

func TestTreeEndsWithItsCommand(t *testing.T) {
	t.Run("kill", func(t *testing.T) {
		c := the.Dial(t)
		tree := command(t, c, "tree", "2")
		all := pids(t, c, tree)
		if err := tree.Kill(); err != nil {
			t.Error(err)
		}
		if exit := wantExit(t, tree.Wait(), 137); exit.Reason() != client.ReasonKilled {
			t.Error(exit)
		}
		wantGone(t, all)
	})
	t.Run("signal", func(t *testing.T) {
		c := the.Dial(t)
		tree := command(t, c, "tree", "2")
		all := pids(t, c, tree)
		if err := tree.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if exit := wantExit(t, tree.Wait(), 143); exit.Reason() != client.ReasonExit {
			t.Error(exit)
		}
		wantGone(t, all)
	})
	t.Run("timeout", func(t *testing.T) {
		c := the.Dial(t)
		tree := command(t, c, "tree", "2")
		tree.Timeout = 10 * time.Second
		all := pids(t, c, tree)
		if exit := wantExit(t, tree.Wait(), 143); exit.Reason() != client.ReasonTimeout {
			t.Error(exit)
		}
		wantGone(t, all)
	})
	t.Run("disconnect", func(t *testing.T) {
		c := the.Dial(t)
		tree := command(t, c, "tree", "2")
		all := pids(t, c, tree)
		_ = c.Close()
		_ = tree.Wait()
		wantGone(t, all)
	})
}

func TestKeptCommandOutlivesItsConnection(t *testing.T) {
	c := the.Dial(t)
	tree := command(t, c, "tree", "2")
	tree.Keep = true
	all := pids(t, c, tree)
	_ = c.Close()
	_ = tree.Wait()
	c = the.Dial(t)
	for _, pid := range all {
		if !runs(t, c, pid) {
			t.Error("it has ended: ", pid)
		}
	}
	list, err := c.Execs(patiently(t))
	if err != nil || len(list.Execs) == 0 {
		t.Fatalf("Execs = %v, %v, want one or more", list, err)
	}
	for _, x := range list.Execs {
		if strconv.Itoa(x.PID) == all[0] {
			if err := c.KillExec(patiently(t), x.Handle, true); err != nil {
				t.Error(err)
			}
		}
	}
	wantGone(t, all)
}

func TestBackgroundProcessHoldsUpNothing(t *testing.T) {
	c := the.Dial(t)
	holder := command(t, c, "holder")
	out, err := holder.Output()
	if err != nil || !holder.ProcessState.OutputCut() {
		t.Errorf("%q, %v, cut %t", out, err, holder.ProcessState.OutputCut())
	}
	pid := strings.TrimSpace(string(out))
	if !runs(t, c, pid) {
		t.Error("it has ended")
	}
	if err := command(t, c, "end", pid).Run(); err != nil {
		t.Error(err)
	}
}

func TestInterruptIsCtrlC(t *testing.T) {
	c := the.Dial(t)
	x := command(t, c, "interrupted")
	var out lockedBuffer
	x.Stdout = &out
	if err := x.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ready", func() bool { return strings.Contains(out.String(), "ready") })
	if err := x.Signal(syscall.SIGUSR1); !isKind(err, client.Unsupported) {
		t.Error(err)
	}
	if err := x.Signal(syscall.SIGINT); err != nil {
		t.Error(err)
	}
	wantExit(t, x.Wait(), 5)
}

func isKind(err error, kind client.Kind) bool {
	remote, ok := errors.AsType[*client.RemoteError](err)
	return ok && remote.Kind == kind
}

func TestArgumentsComeAsTheyAre(t *testing.T) {
	c := the.Dial(t)
	random := rand.New(rand.NewPCG(3, 4))
	for range 10 {
		args := []string{}
		for range random.IntN(8) {
			var word strings.Builder
			for range random.IntN(12) {
				word.WriteByte("ab \\\"'^%&|<>()!*?$"[random.IntN(18)])
			}
			args = append(args, word.String())
		}
		out, err := command(t, c, "args", args...).Output()
		var back []string
		if err == nil {
			err = json.Unmarshal(out, &back)
		}
		if err != nil || strings.Join(back, "\x00") != strings.Join(args, "\x00") {
			t.Errorf("%q came as %q, %v", args, back, err)
		}
	}
	raw := c.CommandContext(patiently(t), "cmd", "/c", `echo "a  b"`)
	raw.Verbatim = true
	if out, err := raw.Output(); strings.TrimSpace(string(out)) != `"a  b"` || err != nil {
		t.Errorf("echo = %q, %v, want the quotes and spaces as they are", out, err)
	}
}

func TestRefusalsHaveTheirKinds(t *testing.T) {
	c := the.Dial(t)
	for _, test := range []struct {
		name string
		make func() *client.Cmd
		kind client.Kind
	}{
		{"unknown command", func() *client.Cmd { return c.CommandContext(patiently(t), "no-such-command") }, client.NotFound},
		{"user", func() *client.Cmd { x := command(t, c, "both"); x.User = "somebody"; return x }, client.Unsupported},
		{"directory", func() *client.Cmd { x := command(t, c, "both"); x.Dir = `C:\none`; return x }, client.BadRequest},
		{"relative directory", func() *client.Cmd { x := command(t, c, "both"); x.Dir = "tmp"; return x }, client.BadRequest},
		{"no program", func() *client.Cmd { return c.CommandContext(patiently(t), windowsPath("/tmp")) }, client.PermissionDenied},
	} {
		if err := test.make().Run(); !isKind(err, test.kind) {
			t.Errorf("%s: %v, want kind %s", test.name, err, test.kind)
		}
	}
}

func TestTerminalHasASizeInputAndOutput(t *testing.T) {
	x := command(t, the.Dial(t), "console")
	x.TTY = &client.TTY{Rows: 33, Cols: 77}
	x.Stdin = strings.NewReader("typed\r")
	out, err := x.Output()
	wantExit(t, err, 3)
	if !strings.Contains(string(out), "size 33 77") || !strings.Contains(string(out), `line "typed"`) {
		t.Errorf("the terminal's output is %q, want its size and the line", out)
	}
}

func TestInfoAndReseed(t *testing.T) {
	c := the.Dial(t)
	info, err := c.Info(patiently(t))
	if err != nil || info.MemoryTotal == 0 || info.Agent.ExecsStarted == 0 {
		t.Errorf("Info = %+v, %v, want memory and execs", info, err)
	}
	hello, err := c.Hello(patiently(t))
	if err != nil || hello.OS != "windows" || hello.BootID == "" {
		t.Errorf("Hello = %+v, %v, want windows and a boot id", hello, err)
	}
	if err := c.Reseed(patiently(t), make([]byte, 32), true); !isKind(err, client.Unsupported) {
		t.Error(err)
	}
}

func TestServiceInTheGuestIsReached(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() { // ends with the listener
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}
	}()
	conn, err := the.Dial(t).DialGuest(patiently(t), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	noise := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{9}).Read(noise)
	go func() { // ends when all is sent
		_, _ = conn.Write(noise)
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, noise) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestPoolRunsCommands(t *testing.T) {
	p := client.NewPool(client.PoolConfig{Dial: func(ctx context.Context, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", the.socket)
	}})
	defer p.Close()
	for range 5 {
		c, err := p.Get(patiently(t), "vm")
		if err != nil {
			t.Fatal(err)
		}
		if err := command(t, c, "exit", "0").Run(); err != nil {
			t.Error(err)
		}
	}
}

// A lockedBuffer is a bytes.Buffer that one goroutine writes and another one reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestKubeletRunsCommands(t *testing.T) {
	test := exec.Command("go", "test", "-count=1", "-v", "-run", "^TestCommandsInAWindowsGuest$", ".")
	test.Dir = "../../kubelet"
	test.Env = append(test.Environ(), "WINE_TARGET="+the.Target, "WINE_TOOL="+windowsPath(toolProgram))
	if out, err := test.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestCommandsInAWindowsGuest") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestHostOfVersion1HasExitCodesOf32Bits(t *testing.T) {
	c, err := client.DialProtocol(patiently(t), the.Target, client.Protocol1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, code := range []uint32{7, 0xC0000005, 0xFFFFFFFF} {
		wantExit(t, command(t, c, "exit", strconv.FormatUint(uint64(code), 10)).Run(), int(code))
	}
}
