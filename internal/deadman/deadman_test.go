//go:build linux && (amd64 || arm64 || riscv64)

package deadman_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/deadman"
)

// roleVariable makes a process of the test binary play a part.
const roleVariable = "DEADMAN_TEST_ROLE"

// patience is how long a test waits for what must happen, on a busy machine.
const patience = 60 * time.Second

// scale is that of the parts: stuck after half a second.
var scale = deadman.Scale{
	Beat: 20 * time.Millisecond, Calm: 50 * time.Millisecond, Short: 5 * time.Millisecond,
	Missed: 100, Term: 40, Last: 30 * time.Second,
}

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		parts[role]()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// parts are what a process that is watched may do. It lives on until its standard input
// ends, as far as it can.
var parts = map[string]func(){
	"idle": func() {
		watched(scale)
		untilTold()
	},
	"loops": func() { // with GODEBUG=asyncpreemptoff=1
		watched(scale)
		go spinForEver()
		runtime.GC()
	},
	"stuck in the kernel": func() {
		watched(scale)
		go blockForEver()
		for {
			runtime.GC()
		}
	},
	"cannot print": func() {
		s := scale
		s.Last = 50 * time.Millisecond
		watched(s)
		var p [2]int
		must(unix.Pipe(p[:]))
		must(unix.Dup3(p[1], 2, 0))
		fill(p[1])
		go spinForEver()
		runtime.GC()
	},
	"gives up": func() {
		d := watched(scale)
		begun := make(chan struct{})
		go waitForEver(begun)
		<-begun
		d.Abort()
		untilTold()
	},
	"deaf": func() {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM)
		watched(scale)
		untilTold()
	},
	"takes SIGTERM": func() {
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		d := watched(scale)
		for range 3 {
			<-term
			d.Taken()
			say("taken")
		}
		untilTold()
	},
	"does not wait for SIGTERM": func() {
		watched(scale)
		untilTold()
	},
	"exits": func() {
		watched(scale)
		os.Exit(3) //nolint:revive // what is tested
	},
}

func watched(s deadman.Scale) *deadman.Deadman {
	d, err := deadman.StartScaled(s)
	must(err)
	say("watched")
	return d
}

func say(line string) { _, _ = os.Stdout.WriteString(line + "\n") }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func untilTold() { _, _ = io.Copy(io.Discard, os.Stdin) }

// spinForEver is a loop that nothing preempts.
//
//go:noinline
func spinForEver() {
	for x := 1; x != 0; {
		x = 3*x | 1
	}
}

// blockForEver keeps its P while it is in the kernel.
//
//go:noinline
func blockForEver() {
	var p [2]int
	must(unix.Pipe(p[:]))
	var buffer byte
	_, _, _ = syscall.RawSyscall(syscall.SYS_READ, uintptr(p[0]), uintptr(unsafe.Pointer(&buffer)), 1)
}

//go:noinline
func waitForEver(begun chan<- struct{}) {
	close(begun)
	select {}
}

// fill writes to a pipe until it takes no more.
func fill(pipe int) {
	must(unix.SetNonblock(pipe, true))
	for {
		if _, err := unix.Write(pipe, make([]byte, 4096)); err != nil {
			break
		}
	}
	must(unix.SetNonblock(pipe, false))
}

// A player is a process that plays a part.
type player struct {
	*exec.Cmd
	stdin  io.Closer
	stdout *os.File
	stderr bytes.Buffer
}

func play(t *testing.T, part string) *player {
	t.Helper()
	p := &player{Cmd: exec.Command(os.Args[0])}
	p.Env = append(os.Environ(), roleVariable+"="+part, "GODEBUG=asyncpreemptoff=1", "GOTRACEBACK=single")
	p.Stderr = &p.stderr
	stdin, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout, p.Stdout = r, w
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
		_ = r.Close()
	})
	_ = r.SetReadDeadline(time.Now().Add(patience))
	p.says(t, "watched")
	return p
}

func (p *player) says(t *testing.T, want string) {
	t.Helper()
	line := make([]byte, len(want)+1)
	if _, err := io.ReadFull(p.stdout, line); string(line) != want+"\n" {
		t.Fatalf("the process says %q, %v, want %q; stderr:\n%s", line, err, want, &p.stderr)
	}
}

// end waits for the end.
func (p *player) end(t *testing.T) syscall.WaitStatus {
	t.Helper()
	late := time.AfterFunc(patience, func() { _ = p.Process.Kill() })
	err := p.Wait()
	if !late.Stop() {
		t.Errorf("the process does not end")
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(exit)
	}
	return p.ProcessState.Sys().(syscall.WaitStatus)
}

func wantSignal(t *testing.T, p *player, want syscall.Signal) {
	t.Helper()
	if got := p.end(t); got.Signal() != want || got.CoreDump() {
		t.Errorf("the process ends with status %#x, want signal %v and no core; stderr:\n%s", int(got), want, &p.stderr)
	}
}

// lives tells the process to end, and wants it to do so of its own accord.
func lives(t *testing.T, p *player) {
	t.Helper()
	_ = p.stdin.Close()
	if got := p.end(t); got != 0 {
		t.Errorf("the process ends with status %#x, want 0; stderr:\n%s", int(got), &p.stderr)
	}
}

func TestStoppedWorldIsEndedWithItsStacks(t *testing.T) {
	for part, function := range map[string]string{"loops": "spinForEver", "stuck in the kernel": "blockForEver"} {
		t.Run(part, func(t *testing.T) {
			p := play(t, part)
			wantSignal(t, p, syscall.SIGABRT)
			for _, want := range []string{"SIGABRT", `runtime\.(GC|stopTheWorld)`, function} { // Go does not always print the callers
				if !regexp.MustCompile(want).MatchString(p.stderr.String()) {
					t.Errorf("no %s in the stacks:\n%s", want, &p.stderr)
				}
			}
		})
	}
}

func TestProgramThatCannotPrintIsKilled(t *testing.T) {
	wantSignal(t, play(t, "cannot print"), syscall.SIGKILL)
}

func TestAbortPrintsAllStacks(t *testing.T) {
	p := play(t, "gives up")
	wantSignal(t, p, syscall.SIGABRT)
	if !strings.Contains(p.stderr.String(), "waitForEver") {
		t.Errorf("no waitForEver in the stacks:\n%s", &p.stderr)
	}
}

func TestSIGTERMThatIsNotTakenAborts(t *testing.T) {
	p := play(t, "deaf")
	_ = p.Process.Signal(syscall.SIGTERM)
	wantSignal(t, p, syscall.SIGABRT)
}

func TestSIGTERMThatIsTakenIsForgotten(t *testing.T) {
	p := play(t, "takes SIGTERM")
	for range 3 {
		_ = p.Process.Signal(syscall.SIGTERM)
		p.says(t, "taken")
	}
	p.rounds(t, scale.Term+5)
	lives(t, p)
}

func TestSIGTERMWithoutNotifyEndsAsUsual(t *testing.T) {
	p := play(t, "does not wait for SIGTERM")
	_ = p.Process.Signal(syscall.SIGTERM)
	wantSignal(t, p, syscall.SIGTERM)
}

func TestExitEndsTheThread(t *testing.T) {
	if got := play(t, "exits").end(t); got.ExitStatus() != 3 {
		t.Errorf("status %#x, want exit status 3", int(got))
	}
}

// As a VM that is paused for much longer than it would have been stuck for.
func TestStoppedProcessIsNotStuck(t *testing.T) {
	p := play(t, "idle")
	pause := time.NewTicker(4 * time.Duration(scale.Missed) * scale.Short)
	defer pause.Stop()
	for range 2 {
		_ = p.Process.Signal(syscall.SIGSTOP)
		<-pause.C
		_ = p.Process.Signal(syscall.SIGCONT)
		p.rounds(t, 2)
	}
	// Stopped again and again, without a chance to beat in between.
	for range 2 * scale.Missed {
		_ = p.Process.Signal(syscall.SIGSTOP)
		p.awaitState(t, 'T')
		_ = p.Process.Signal(syscall.SIGCONT)
	}
	lives(t, p)
}

// rounds waits until the thread has slept n more times.
func (p *player) rounds(t *testing.T, n int) {
	t.Helper()
	begin := p.switches(t)
	poll(t, "rounds of the thread", func() bool { return p.switches(t) >= begin+n })
}

// switches is how often the thread has gone to sleep.
func (p *player) switches(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(field(status(t, p.Process.Pid), "voluntary_ctxt_switches"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (p *player) awaitState(t *testing.T, state byte) {
	t.Helper()
	poll(t, "state "+string(state), func() bool { return strings.HasPrefix(field(status(t, p.Process.Pid), "State"), string(state)) })
}

func poll(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// status returns what /proc says of the thread of process pid.
func status(t *testing.T, pid int) string {
	t.Helper()
	threads := named(pid)
	if len(threads) != 1 {
		t.Fatalf("threads that are called deadman: %v, want 1", threads)
	}
	text, err := os.ReadFile(filepath.Join(threads[0], "status"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func named(pid int) (threads []string) {
	for _, dir := range tasks(pid) {
		if comm, _ := os.ReadFile(dir + "/comm"); string(comm) == "deadman\n" {
			threads = append(threads, dir)
		}
	}
	return threads
}

func field(status, name string) string {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "no " + name
}

func TestThreadTakesNoSignals(t *testing.T) {
	p := play(t, "idle")
	const all = "fffffffffffbfeff" // but SIGKILL and SIGSTOP
	if got := field(status(t, p.Process.Pid), "SigBlk"); got != all {
		t.Errorf("SigBlk = %s, want %s", got, all)
	}
	lives(t, p)
}

func TestStopEndsTheThread(t *testing.T) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	defer signal.Stop(term)
	for range 3 {
		d, err := deadman.Start(time.Second, 1)
		if err != nil {
			t.Fatal(err)
		}
		second, err := deadman.Start(time.Second, 1)
		if err == nil {
			t.Error("a second Deadman was started")
		}
		second.Taken()
		second.Stop()
		if threads := named(os.Getpid()); len(threads) != 1 {
			t.Errorf("threads that are called deadman: %v, want 1", threads)
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
		<-term
		d.Taken()
		d.Stop()
		// The kernel says that a thread has ended a moment before /proc has it no more.
		for late := time.After(patience); len(named(os.Getpid())) > 0; {
			select {
			case <-late:
				t.Fatalf("threads after Stop: %v", named(os.Getpid()))
			case <-time.After(time.Millisecond):
			}
		}
	}
}

// Beside many processes that want the CPU, rounds take longer, and do not count.
func TestBusyMachineIsNotStuck(t *testing.T) {
	var one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	first := 0
	for !one.IsSet(first) {
		first++
	}
	one.Zero()
	one.Set(first)
	p := play(t, "idle")
	pin := func(pid int) {
		for _, dir := range tasks(pid) {
			tid, _ := strconv.Atoi(filepath.Base(dir))
			_ = unix.SchedSetaffinity(tid, &one)
		}
	}
	pin(p.Process.Pid)
	for range 30 {
		hog := exec.Command("sh", "-c", "while :; do :; done")
		if err := hog.Start(); err != nil {
			t.Fatal(err)
		}
		pin(hog.Process.Pid)
		t.Cleanup(func() {
			_ = hog.Process.Kill()
			_ = hog.Wait()
		})
	}
	p.rounds(t, 30)
	lives(t, p)
}

func tasks(pid int) []string {
	all, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	return all
}

func TestTimesAreWithin90Seconds(t *testing.T) {
	for _, grace := range []time.Duration{0, 5 * time.Second, time.Hour} {
		s := deadman.ScaleFor(grace)
		abort := s.Beat + s.Calm + time.Duration(s.Missed)*s.Short
		if abort < 60*time.Second || abort+s.Last > 90*time.Second {
			t.Errorf("grace %v: SIGABRT after %v, SIGKILL %v later, want 60 s or more, and 90 s or less in all", grace, abort, s.Last)
		}
		if late := s.Calm + time.Duration(s.Term)*s.Short; late <= grace || late > grace+10*time.Second {
			t.Errorf("grace %v: a SIGTERM that is not taken aborts after %v", grace, late)
		}
		if s.Beat >= s.Calm {
			t.Errorf("a beat in %v, a round in %v: not every round has a beat", s.Beat, s.Calm)
		}
	}
}
