//go:build linux

package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A closed connection says whether it has been.
type closed struct {
	net.Conn
	is chan struct{}
}

func (c *closed) Close() error {
	select {
	case <-c.is:
	default:
		close(c.is)
	}
	return c.Conn.Close()
}

func heldConn(t *testing.T, a *agenttest.Agent) *closed {
	t.Helper()
	c := &closed{Conn: a.Dial(t), is: make(chan struct{})}
	t.Cleanup(func() {
		select {
		case <-c.is:
		default:
			t.Error("the connection has not been closed")
		}
	})
	return c
}

// dropIns are the ways to run a command over a connection that the caller has.
var dropIns = map[string]func(context.Context, io.ReadWriteCloser, client.RunOptions) (int, error){
	"Run": func(ctx context.Context, conn io.ReadWriteCloser, o client.RunOptions) (int, error) {
		return client.Run(ctx, conn, o.Args, o.Env, o.Stdin, o.Stdout, o.Stderr)
	},
	"RunWith version 1": runWith(client.Protocol1),
	"RunWith version 2": runWith(client.Protocol2),
}

// runWith is RunWith in the shape of Run.
func runWith(p client.Protocol) func(context.Context, io.ReadWriteCloser, client.RunOptions) (int, error) {
	return func(ctx context.Context, conn io.ReadWriteCloser, o client.RunOptions) (int, error) {
		o.Protocol = p
		state, err := client.RunWith(ctx, conn, o)
		if state == nil {
			return -1, err
		}
		if exit, ok := errors.AsType[*client.ExitError](err); ok {
			if exit.ProcessState != state {
				err = fmt.Errorf("%w, and a state of %v", err, state)
			} else {
				err = exit.Unwrap()
			}
		}
		return state.ExitCode(), err
	}
}

func TestRunIsOneCommandOnOneConnection(t *testing.T) {
	a := agenttest.Start(t)
	for name, test := range map[string]struct {
		argv           []string
		stdin          io.Reader
		code           int
		stdout, stderr string
	}{
		"success":      {argv: []string{"cat"}, stdin: strings.NewReader("in"), stdout: "in"},
		"no stdin":     {argv: []string{"cat"}},
		"code":         {argv: []string{"sh", "-c", "echo out; echo err >&2; exit 7"}, code: 7, stdout: "out\n", stderr: "err\n"},
		"signal":       {argv: []string{"sh", "-c", "kill -KILL $$"}, code: -1},
		"environment":  {argv: []string{"sh", "-c", "echo $A,$B,${PATH:+path}"}, stdout: "1,two,path\n"},
		"not the last": {argv: []string{"sh", "-c", "echo tail"}, stdin: neverEnding{}, stdout: "tail\n"},
	} {
		for way, run := range dropIns {
			t.Run(name+"/"+way, func(t *testing.T) {
				var stdout, stderr bytes.Buffer
				if s, ok := test.stdin.(*strings.Reader); ok {
					_, _ = s.Seek(0, io.SeekStart)
				}
				code, err := run(patiently(t), heldConn(t, a), client.RunOptions{
					Args: test.argv, Env: map[string]string{"A": "1", "B": "two"},
					Stdin: test.stdin, Stdout: &stdout, Stderr: &stderr,
				})
				if code != test.code || err != nil {
					t.Errorf("code %d, %v; want %d", code, err, test.code)
				}
				if stdout.String() != test.stdout || stderr.String() != test.stderr {
					t.Errorf("stdout %q, stderr %q", stdout.String(), stderr.String())
				}
			})
		}
	}
	t.Run("output that nobody wants", func(t *testing.T) {
		code, err := client.Run(patiently(t), heldConn(t, a), []string{"sh", "-c", "yes | head -c 1000000"}, nil, nil, nil, nil)
		if code != 0 || err != nil {
			t.Errorf("code %d, %v", code, err)
		}
	})
}

// neverEnding reads zeroes.
type neverEnding struct{}

func (neverEnding) Read(b []byte) (int, error) { return len(b), nil }

func TestRunFails(t *testing.T) {
	a := agenttest.Start(t)
	for way, run := range dropIns {
		t.Run("no argv/"+way, func(t *testing.T) {
			if code, err := run(patiently(t), heldConn(t, a), client.RunOptions{}); code != -1 || err == nil {
				t.Errorf("code %d, %v", code, err)
			}
		})
		t.Run("no such command/"+way, func(t *testing.T) {
			code, err := run(patiently(t), heldConn(t, a), client.RunOptions{Args: []string{"/no/such"}})
			if code != -1 {
				t.Errorf("code %d", code)
			}
			want := client.Internal // version 1 tells no errors apart
			if strings.HasSuffix(way, "2") {
				want = client.NotFound
			}
			wantKind(t, err, want)
		})
		t.Run("context/"+way, func(t *testing.T) {
			ctx, cancel := context.WithCancel(patiently(t))
			stdout := &cancelling{cancel: cancel}
			code, err := run(ctx, heldConn(t, a), client.RunOptions{Args: []string{"sh", "-c", "echo; sleep 1000"}, Stdout: stdout})
			if code != -1 || !errors.Is(err, context.Canceled) {
				t.Errorf("code %d, %v", code, err)
			}
		})
		t.Run("context that has ended/"+way, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			code, err := run(ctx, heldConn(t, a), client.RunOptions{Args: []string{"true"}})
			if code != -1 || !errors.Is(err, context.Canceled) {
				t.Errorf("code %d, %v", code, err)
			}
		})
		t.Run("output that cannot be written, input that does not end/"+way, func(t *testing.T) {
			r, w := io.Pipe()
			defer w.Close()
			code, err := run(patiently(t), heldConn(t, a), client.RunOptions{Args: []string{"yes"}, Stdin: r, Stdout: brokenPipe{}})
			if code != -1 || !errors.Is(err, syscall.EPIPE) {
				t.Errorf("code %d, %v", code, err)
			}
		})
		t.Run("connection/"+way, func(t *testing.T) {
			near, far := socketpair(t)
			_ = far.Close()
			code, err := run(patiently(t), near, client.RunOptions{Args: []string{"true"}})
			if code != -1 || !errors.Is(err, client.ErrLost) {
				t.Errorf("code %d, %v", code, err)
			}
		})
	}
	t.Run("no such version", func(t *testing.T) {
		state, err := client.RunWith(patiently(t), heldConn(t, a), client.RunOptions{Args: []string{"true"}, Protocol: 3})
		if state != nil || err == nil {
			t.Errorf("RunWith = %v, %v, want an error", state, err)
		}
	})
}

// A brokenPipe is a Writer whose reader has gone.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// A cancelling Writer ends a context at the first write.
type cancelling struct{ cancel func() }

func (c *cancelling) Write(b []byte) (int, error) {
	c.cancel()
	return len(b), nil
}

func TestReseedSaysWhatIsWrong(t *testing.T) {
	c, _ := dial(t)
	err := c.Reseed(patiently(t), make([]byte, 8), false)
	wantKind(t, err, client.BadRequest)
	if !strings.Contains(err.Error(), "entropy of the wrong length: 8 bytes: want 16 to 512") {
		t.Error(err)
	}
}

// That a kernel takes the entropy is shown in a guest: e2e.
func TestReseedSendsTheEntropy(t *testing.T) {
	c, g := hostile(t)
	entropy := []byte("0123456789abcdef")
	result := make(chan error)
	go func() { result <- c.Reseed(patiently(t), entropy, true) }()
	m, ok := g.receive().(*wire.Reseed)
	if !ok || !bytes.Equal(m.Entropy, entropy) || !m.MachineID {
		t.Fatalf("the agent gets %+v, want a reseed with the entropy and machine_id", m)
	}
	g.send(&wire.Done{Head: wire.Head{ID: m.ID}, Steps: stepsOf("entropy", "random_seed", "machine_id", "dbus_id")})
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestInfoSaysWhatTheGuestIs(t *testing.T) {
	c, _ := dial(t)
	i, err := c.Info(patiently(t))
	if err != nil {
		t.Fatal(err)
	}
	if i.Version != "test" || i.Protocol != 2 || i.Hostname == "" || i.OS == "" || i.Kernel == "" || i.Arch == "" || i.BootID == "" ||
		i.Uptime <= 0 || i.CPUs <= 0 || i.MemoryTotal == 0 || i.MemoryAvailable == 0 || i.RoundTrip <= 0 {
		t.Errorf("Info = %+v, want all of it set", i)
	}
	if a := i.Agent; i.CPUTime <= 0 || a.Uptime < 0 || a.RSS == 0 || a.Connections != 1 || a.ExecsStarted != 0 || a.ExecsRunning != 0 {
		t.Errorf("CPU time %v, the agent %+v", i.CPUTime, a)
	}
	if off := i.ClockOffset.Abs(); off > i.RoundTrip {
		t.Errorf("this machine's clock is %v off its own, with %v for the round trip", off, i.RoundTrip)
	}
}

func TestInfoCountsWhatTheAgentHasDone(t *testing.T) {
	c, _ := dial(t)
	for _, script := range []string{"echo hello", "echo oops >&2; exit 3"} {
		_, _ = c.Command("sh", "-c", script).Output() // what became of it is counted
	}
	if err := c.Command("/no/such/program").Run(); err == nil {
		t.Fatal("a program that is not there has run")
	}
	running := c.Command("cat")
	stdin, err := running.StdinPipe()
	if err == nil {
		err = running.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	fed := c.Command("sh", "-c", "read line")
	fed.Stdin = strings.NewReader("12345")
	_ = fed.Run()
	agenttest.Eventually(t, "the input is counted", func() bool {
		i, err := c.Info(patiently(t))
		return err == nil && i.Agent.StdinBytes == 5
	})
	i, err := c.Info(patiently(t))
	if err != nil {
		t.Fatal(err)
	}
	if a := i.Agent; a.ExecsStarted != 4 || a.ExecsFailed != 1 || a.ExecsRunning != 1 || a.StdoutBytes != 6 || a.StderrBytes != 5 {
		t.Errorf("Info's Agent = %+v, want 4 execs started, 1 failed, 1 running, 6 and 5 bytes of output", a)
	}
	_ = stdin.Close()
	if err := running.Wait(); err != nil {
		t.Error(err)
	}
}

func TestInfoCountsCgroupsOfLeftProcesses(t *testing.T) {
	c, _ := dial(t)
	left, err := c.CommandContext(patiently(t), "sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	pid := strings.TrimSpace(string(left))
	if cgroup, err := os.ReadFile("/proc/" + pid + "/cgroup"); err != nil || !strings.Contains(string(cgroup), "cocoon-agent") {
		_ = c.Command("kill", pid).Run()
		t.Skipf("the agent has no cgroups: %s %v", cgroup, err)
	}
	kept := func(want uint64) func() bool {
		return func() bool {
			i, err := c.Info(patiently(t))
			return err == nil && i.Agent.CgroupsKept == want
		}
	}
	agenttest.Eventually(t, "a cgroup is kept", kept(1))
	if err := c.Command("kill", pid).Run(); err != nil {
		t.Error(err)
	}
	agenttest.Eventually(t, "it is removed", kept(0))
}

func TestInfoSaysHowFarTheClockIsOff(t *testing.T) {
	c, g := hostile(t)
	result := make(chan *client.Info)
	go func() {
		i, err := c.Info(patiently(t))
		if err != nil {
			t.Error(err)
		}
		result <- i
	}()
	m := g.receive().(*wire.Info)
	g.send(&wire.Done{Head: wire.Head{ID: m.ID}, Guest: &wire.Guest{ClockNS: 1_000_000_000, Load1: 142}})
	i := <-result
	if i == nil {
		t.FailNow()
	}
	if i.Clock.Unix() != 1 || i.ClockOffset.Hours() > -24*365*50 || i.Load[0] != 1.42 {
		t.Errorf("Info = %+v, want a clock at 1 s, an offset of decades and a load of 1.42", i)
	}
}

func TestInfoFromAnAgentThatHasNone(t *testing.T) {
	c, g := hostile(t)
	result := make(chan error)
	go func() { _, err := c.Info(patiently(t)); result <- err }()
	m := g.receive().(*wire.Info)
	g.send(&wire.Done{Head: wire.Head{ID: m.ID}})
	if err := <-result; !errors.Is(err, client.ErrProtocol) {
		t.Error(err)
	}
}
