//go:build linux

// Package checks holds what every way to an agent must carry, from the program
// on the host to the process in the guest. Each transport's tests run it.
package checks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

// Patience is how long a test waits for what must happen. A guest without KVM
// is slow, and the machine may be busy.
const Patience = 2 * time.Minute

// GuestMain runs the tests in a User-Mode-Linux guest, and nowhere else: what
// they do to a kernel they do to one of their own. It returns TestMain's status.
func GuestMain(m *testing.M) int {
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil || !bytes.Contains(cpu, []byte("User Mode Linux")) {
		fmt.Fprintln(os.Stderr, "these tests run in a User-Mode-Linux guest alone: make e2e")
		return 1
	}
	return m.Run()
}

// ProgramVariable names the environment variable with the program's path.
const ProgramVariable = "COCOON_AGENT"

// Program returns the path of the program that is tested, made by e2e/run.sh.
func Program(t *testing.T) string {
	t.Helper()
	path := os.Getenv(ProgramVariable)
	if path == "" {
		t.Fatalf("%s is not set: run make e2e", ProgramVariable)
	}
	return path
}

// An Agent is a running agent and the program that is its client.
type Agent struct {
	Program string
	Target  string
	Flags   []string // of its client
}

// A Result is the end of a client.
type Result struct {
	Status         int
	Stdout, Stderr string
}

// Client runs the program's client to its end.
func (a Agent) Client(t *testing.T, stdin io.Reader, argv ...string) Result {
	t.Helper()
	return a.client(t, stdin, append([]string{"--"}, argv...)...)
}

func (a Agent) client(t *testing.T, stdin io.Reader, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	args = slices.Concat([]string{"client", "--target", a.Target}, a.Flags, args)
	cmd := exec.CommandContext(ctx, a.Program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok || ctx.Err() != nil {
		t.Fatalf("client %q: %v; stderr: %s", args, err, &stderr)
	}
	return Result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// Dial connects to the agent.
func (a Agent) Dial(t *testing.T) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	c, err := client.Dial(ctx, a.Target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Run runs all checks against the agent.
func Run(t *testing.T, a Agent) {
	t.Helper()
	t.Run("Echo", a.echo)
	t.Run("ExitStatusesAreTheCommands", a.exitStatuses)
	t.Run("64MBThroughCatAreTheSame", a.cat)
	t.Run("200AtOnceOnOneConnection", a.many)
	t.Run("ConnectionToAServiceInTheGuest", a.service)
}

func (a Agent) echo(t *testing.T) {
	want := Result{0, "hello\n", ""}
	if got := a.Client(t, nil, "echo", "hello"); got != want {
		t.Errorf("%+v", got)
	}
}

func (a Agent) exitStatuses(t *testing.T) {
	for _, test := range []struct {
		status int
		stderr string
		argv   []string
	}{
		{0, "", []string{"true"}},
		{7, "", []string{"sh", "-c", "exit 7"}},
		{127, "not found", []string{"no-such-command"}},
		{137, "", []string{"sh", "-c", "kill -KILL $$"}},
	} {
		got := a.Client(t, nil, test.argv...)
		silent := test.stderr == "" && got.Stderr == ""
		if got.Status != test.status || got.Stdout != "" || !silent && !strings.Contains(got.Stderr, test.stderr) {
			t.Errorf("%q: %+v, want status %d", test.argv, got, test.status)
		}
	}
}

func (a Agent) cat(t *testing.T) {
	const size = 64 << 20
	sent, received := sha256.New(), sha256.New()
	source := io.LimitReader(rand.NewChaCha8([32]byte{'c', 'a', 't'}), size)
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, a.Program, "client", "--target", a.Target, "--", "cat")
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = io.TeeReader(source, sent), received, &stderr
	begun := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v; stderr: %s", err, &stderr)
	}
	t.Logf("%d MB in and out in %v", size>>20, time.Since(begun).Round(time.Millisecond))
	if in, out := sent.Sum(nil), received.Sum(nil); !bytes.Equal(in, out) {
		t.Errorf("SHA-256 %x of what was sent, %x of what came back", in, out)
	}
}

func (a Agent) many(t *testing.T) {
	c := a.Dial(t)
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			out, err := c.CommandContext(ctx, "sh", "-c", fmt.Sprintf("echo %d; exit %d", i, i%3)).Output()
			status := 0
			if exit, ok := errors.AsType[*client.ExitError](err); ok {
				status = exit.ExitStatus()
			} else if err != nil {
				t.Errorf("command %d: %v", i, err)
				return
			}
			if string(out) != fmt.Sprintf("%d\n", i) || status != i%3 {
				t.Errorf("command %d: output %q, status %d", i, out, status)
			}
		})
	}
	all.Wait()
}
