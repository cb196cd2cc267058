//go:build linux

package agenttest_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/client/agenttest"
)

// patience is how long a test waits for what should happen at once.
const patience = 2 * time.Minute

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// echo runs a command over c.
func echo(t *testing.T, c *client.Client) error {
	t.Helper()
	out, err := c.CommandContext(within(t), "echo", "hello").Output()
	if err == nil && string(out) != "hello\n" {
		t.Errorf("%q, want hello", out)
	}
	return err
}

func dial(t *testing.T, target string) *client.Client {
	t.Helper()
	c, err := client.Dial(within(t), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestVMRunsCommands(t *testing.T) {
	program := buildProgram(t)
	for name, o := range map[string]agenttest.Options{
		"in the process":       {},
		"its own socket":       {Unix: true},
		"a program":            {Program: program},
		"version 1":            {Version1: true},
		"a program, version 1": {Program: program, Args: []string{"--max-execs", "3"}, Version1: true, Unix: true},
	} {
		t.Run(name, func(t *testing.T) {
			vm := agenttest.NewWith(t, o)
			c := dial(t, vm.Target)
			if err := echo(t, c); err != nil {
				t.Fatal(err)
			}
			want := client.Protocol2
			if o.Version1 {
				want = client.Protocol1
			}
			if c.Protocol() != want {
				t.Errorf("protocol %d, want %d", c.Protocol(), want)
			}
			if !strings.Contains(vm.Log(), `"argv0":"echo"`) {
				t.Errorf("the log does not have the command: %s", vm.Log())
			}
		})
	}
}

func buildProgram(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "cocoon-agent")
	build := exec.Command("go", "build", "-o", program, "github.com/cocoonstack/cocoon-agent/cmd/cocoon-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

func TestVMThatStartsLate(t *testing.T) {
	vm := agenttest.NewWith(t, agenttest.Options{Late: true})
	if _, err := client.Dial(within(t), vm.Target); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, want that there is no socket", err)
	}
	c, err := client.WaitReadyWith(within(t), vm.Target, client.WaitOptions{Waiting: func(error) { vm.Start() }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := echo(t, c); err != nil {
		t.Error(err)
	}
}

func TestVMThatIsPaused(t *testing.T) {
	vm := agenttest.New(t)
	c := dial(t, vm.Target)
	if err := echo(t, c); err != nil {
		t.Fatal(err)
	}
	vm.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a paused VM answers: %v", err)
	}
	vm.Resume()
	if err := echo(t, c); err != nil {
		t.Error(err)
	}
	vm.Restore()
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a connection of before the restore answers: %v", err)
	}
	if err := echo(t, dial(t, vm.Target)); err != nil {
		t.Error(err)
	}
}

func TestVMWhoseConnectionsAreCut(t *testing.T) {
	vm := agenttest.New(t)
	c := dial(t, vm.Target)
	if err := echo(t, c); err != nil {
		t.Fatal(err)
	}
	vm.Cut()
	<-c.Done()
	for _, n := range []int64{1, 100, 1000} {
		vm.CutAfter(n)
		c, err := client.Dial(within(t), vm.Target)
		if err != nil {
			continue // it is cut within the greeting
		}
		out, err := c.CommandContext(within(t), "head", "-c", "100000", "/dev/zero").Output()
		if err == nil || int64(len(out)) > n {
			t.Errorf("cut after %d bytes: %d bytes of output, %v", n, len(out), err)
		}
		_ = c.Close()
	}
	vm.CutAfter(0)
	if err := echo(t, dial(t, vm.Target)); err != nil {
		t.Error(err)
	}
	if n := vm.Connections(); n != 5 {
		t.Errorf("%d connections, want 5", n)
	}
}

func TestVMWithoutASocket(t *testing.T) {
	vm := agenttest.NewWith(t, agenttest.Options{Late: true})
	p := client.NewPool(client.PoolConfig{Dial: func(ctx context.Context, _ string) (net.Conn, error) { return vm.Dial(ctx) }})
	defer p.Close()
	c, err := p.Get(within(t), "any name")
	if err != nil {
		t.Fatal(err)
	}
	if err := echo(t, c); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(strings.TrimPrefix(vm.Target, "hvsock://")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a socket: %v", err)
	}
}

func TestVMThatIsReplaced(t *testing.T) {
	a, b := agenttest.NewWith(t, agenttest.Options{Unix: true}), agenttest.NewWith(t, agenttest.Options{Unix: true})
	vm := agenttest.NewWith(t, agenttest.Options{Agent: strings.TrimPrefix(a.Target, "unix://")})
	id := func() string {
		h, err := dial(t, vm.Target).Hello(within(t))
		if err != nil {
			t.Fatal(err)
		}
		return h.AgentID
	}
	first := id()
	vm.Boot(strings.TrimPrefix(b.Target, "unix://"))
	if second := id(); first == second || first == "" {
		t.Errorf("agents %q and %q, want two", first, second)
	}
}
