package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cocoonstack/cocoon-agent/client"
)

// A fleet is a set of agents, some of them killed and started again all the time.
type fleet struct {
	t       *testing.T
	targets []string
	frail   map[string]*exec.Cmd
	kills   int
}

func newFleet(t *testing.T, well, frail int) *fleet {
	t.Helper()
	f := &fleet{t: t, frail: make(map[string]*exec.Cmd)}
	for i := range well + frail {
		target, cmd := agent(t)
		f.targets = append(f.targets, target)
		if i >= well {
			f.frail[target] = cmd
		}
	}
	return f
}

// harass kills agents and starts them again until done is closed.
func (f *fleet) harass(done <-chan struct{}) error {
	for {
		for target, cmd := range f.frail { // in random order
			select {
			case <-done:
				return nil
			default:
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			f.kills++
			next := program(f.t, "serve", "--listen", target)
			log, err := next.StderrPipe()
			if err != nil {
				return err
			}
			if err := next.Start(); err != nil {
				return err
			}
			f.frail[target] = next
			if err := listens(log); err != nil {
				return err
			}
		}
	}
}

func (f *fleet) stop() {
	for _, cmd := range f.frail {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// An outcome is what a caller is told of a command.
type outcome string

const (
	succeeded    outcome = "succeeded"
	neverStarted outcome = "never started"
	maybeStarted outcome = "may have started"
	lostExit     outcome = "exit lost"
	truncated    outcome = "output truncated"
)

func classify(err error) (outcome, error) {
	if err == nil {
		return succeeded, nil
	}
	if _, ok := errors.AsType[*client.MaybeStartedError](err); ok {
		return maybeStarted, nil
	}
	if _, ok := errors.AsType[*client.LostExitError](err); ok {
		return lostExit, nil
	}
	if _, ok := errors.AsType[*client.TruncatedError](err); ok {
		return truncated, nil
	}
	if _, ok := errors.AsType[*client.DialError](err); ok || errors.Is(err, client.ErrLost) {
		return neverStarted, nil
	}
	return "", fmt.Errorf("an error of no class: %w (%T)", err, err)
}

// Agents die and come back under 200 callers. Each of 5,000 commands says in a
// file that it has run, so that what callers are told can be held against it.
func TestPoolUnderAgentsThatDie(t *testing.T) {
	const (
		well, frail = 5, 15
		callers     = 200
		each        = 25
	)
	f := newFleet(t, well, frail)
	goroutines, files := goleak.IgnoreCurrent(), openFiles(t)
	dir := t.TempDir()
	var dials sync.Map // of each target: *atomic.Int64
	pool := client.NewPool(client.PoolConfig{
		MinBackoff: 5 * time.Millisecond, MaxBackoff: 50 * time.Millisecond,
		Dial: func(ctx context.Context, target string) (net.Conn, error) {
			n, _ := dials.LoadOrStore(target, new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
			vm, err := client.ParseTarget(target)
			if err != nil {
				return nil, err
			}
			return vm.Dial(ctx)
		},
	})
	begun := time.Now()

	done, harassed := make(chan struct{}), make(chan error, 1)
	go func() { harassed <- f.harass(done) }()
	var mu sync.Mutex
	told := make(map[string]outcome)
	count := make(map[outcome]int)
	var healthy []time.Duration // how long calls to agents that are well took
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for i := range each {
				n := rand.IntN(len(f.targets))
				id := fmt.Sprintf("%d-%d", caller, i)
				asked := time.Now()
				err := report(t.Context(), pool, f.targets[n], filepath.Join(dir, fmt.Sprint(n)), id)
				if err != nil && n < well {
					t.Errorf("an agent that is well: %v", err)
				}
				took := time.Since(asked)
				what, err := classify(err)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				told[id] = what
				count[what]++
				if n < well {
					healthy = append(healthy, took)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	close(done)
	if err := <-harassed; err != nil {
		t.Error(err)
	}
	took := time.Since(begun)
	stats := pool.Stats()
	_ = pool.Close()
	f.stop()

	runs := runsOf(t, dir)
	for id, what := range told {
		if n := runs[id]; n > 1 || what == succeeded && n != 1 || what == neverStarted && n != 0 {
			t.Errorf("command %s, of which the caller is told %q, has run %d times", id, what, n)
		}
	}
	if f.kills == 0 || count[succeeded] == len(told) {
		t.Errorf("%d kills, and all commands succeeded: nothing is shown", f.kills)
	}
	// An agent that is well is dialed once, so that no call to it has waited for a
	// back-off; and none has waited for another's time-out, which is 10 seconds.
	for _, target := range f.targets[:well] {
		if n, ok := dials.Load(target); ok && n.(*atomic.Int64).Load() != 1 {
			t.Errorf("an agent that is well was dialed %d times", n.(*atomic.Int64).Load())
		}
	}
	slices.Sort(healthy)
	if slowest := healthy[len(healthy)-1]; slowest > 10*time.Second {
		t.Errorf("a command of an agent that is well took %v", slowest)
	}
	t.Logf("%d kills in %v; commands: %v; %+v", f.kills, took, count, stats)
	t.Logf("%d commands of agents that are well: median %v, slowest %v", len(healthy), healthy[len(healthy)/2], healthy[len(healthy)-1])
	goleak.VerifyNone(t, goroutines)
	if now := openFiles(t); now > files {
		t.Errorf("%d files open, %d before", now, files)
	}
}

// report runs a command that appends id to a file and prints it.
func report(ctx context.Context, pool *client.Pool, target, file, id string) error {
	c, err := pool.Get(ctx, target)
	if err != nil {
		return err
	}
	out, err := c.CommandContext(ctx, "sh", "-c", `echo "$1" >>"$2"; echo "$1"`, "sh", id, file).Output()
	if err == nil && string(out) != id+"\n" {
		return fmt.Errorf("command %s printed %q", id, out)
	}
	return err
}

func runsOf(t *testing.T, dir string) map[string]int {
	t.Helper()
	runs := make(map[string]int)
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range strings.Fields(string(text)) {
			runs[id]++
		}
	}
	return runs
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// stallTime is how long a VM, or a host, does nothing in tests. It is longer than
// anything that agent and client wait for in a connection that is up.
const stallTime = 35 * time.Second

// A VM is paused under a command that waits and one that transfers.
func TestPoolOverAPausedAgent(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as the pause")
	}
	t.Parallel()
	target, agent := agent(t)
	pool := client.NewPool(client.PoolConfig{DialTimeout: 5 * time.Second})
	defer pool.Close()
	c, err := pool.Get(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}

	waiting := c.Command("sh", "-c", `while read word; do echo "$word"; done; exit 7`)
	stdin, _ := waiting.StdinPipe()
	stdout, _ := waiting.StdoutPipe()
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	words := bufio.NewReader(stdout)
	talk := func(word string) {
		_, _ = fmt.Fprintln(stdin, word)
		if got, err := words.ReadString('\n'); got != word+"\n" {
			t.Errorf("said %q, heard %q, %v", word, got, err)
		}
	}
	talk("before")

	const size = 256 << 20
	transfer := c.Command("cat")
	source := &countingReader{left: size, sum: sha256.New()}
	received := sha256.New()
	transfer.Stdin, transfer.Stdout = source, received
	if err := transfer.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the transfer is under way", func() bool { return source.read.Load() > size/16 })
	if err := agent.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if source.read.Load() == size {
		t.Error("the transfer was over before the agent was stopped")
	}
	for end := time.After(stallTime); end != nil; {
		select {
		case <-end:
			end = nil
		default:
			if err := pauseAsked(t.Context(), pool, target); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
	}
	if err := agent.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}

	if err := transfer.Wait(); err != nil {
		t.Error(err)
	}
	if got, want := received.Sum(nil), source.sum.Sum(nil); !bytes.Equal(got, want) {
		t.Errorf("sent %x, received %x", want, got)
	}
	talk("after")
	_ = stdin.Close()
	_, _ = io.Copy(io.Discard, words)
	if exit, ok := errors.AsType[*client.ExitError](waiting.Wait()); !ok || exit.ExitCode() != 7 {
		t.Errorf("exit %v", exit)
	}
	s := pool.Stats()
	if s.Stale != 0 || s.ProbeTimeouts == 0 {
		t.Errorf("Stats = %+v, want none stale, and probes that timed out", s)
	}
	t.Logf("%+v", s)
}

// pauseAsked asks for a connection, as another caller may in the meantime.
func pauseAsked(ctx context.Context, pool *client.Pool, target string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := pool.Get(ctx, target)
	if err == nil {
		<-ctx.Done()
	}
	return err
}

// A countingReader reads pseudo-random bytes.
type countingReader struct {
	left int
	sum  hash.Hash
	read atomic.Int64
	seed rand.PCG
}

func (r *countingReader) Read(b []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := min(len(b)&^7, r.left)
	for i := 0; i < n; i += 8 {
		binary.NativeEndian.PutUint64(b[i:], r.seed.Uint64())
	}
	r.left -= n
	_, _ = r.sum.Write(b[:n])
	r.read.Add(int64(n))
	return n, nil
}
