package proc_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

func newSpawner(tb testing.TB) *proc.Spawner {
	tb.Helper()
	s, err := proc.NewSpawner()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// A finished process is what a run ends with.
type finished struct {
	proc.Exit
	stdout, stderr string
}

// run runs a process to its end.
func run(tb testing.TB, s *proc.Spawner, spec proc.Spec, stdin io.WriterTo) finished {
	tb.Helper()
	spec.Stdin = spec.Stdin || stdin != nil
	p, err := s.Start(spec)
	if err != nil {
		tb.Fatal(err)
	}
	return finish(tb, p, stdin)
}

// finish feeds a process, reads it and reaps it.
func finish(tb testing.TB, p *proc.Process, stdin io.WriterTo) finished {
	tb.Helper()
	var all sync.WaitGroup
	if stdin != nil {
		go func() { // ends with Reap
			_, _ = p.Stdin().CopyFrom(stdin)
		}()
	}
	var outputs [2]bytes.Buffer
	for i, o := range []*proc.Output{p.Stdout(), p.Stderr()} {
		if o != nil {
			all.Go(func() {
				if _, _, err := o.CopyTo(&outputs[i]); err != nil {
					tb.Error(err)
				}
			})
		}
	}
	if err := p.Wait(); err != nil {
		tb.Error(err)
	}
	p.Drain(linger)
	all.Wait()
	e, err := p.Reap()
	if err != nil {
		tb.Error(err)
	}
	return finished{e, outputs[0].String(), outputs[1].String()}
}

func TestExitCodesHave32Bits(t *testing.T) {
	s := newSpawner(t)
	for _, want := range []uint32{0, 7, 259, 0xC0000005, 0xFFFFFFFF} {
		if got := run(t, s, proc.Spec{Argv: as("exit", strconv.FormatUint(uint64(want), 10))}, nil); got.Status != want || got.Code != int(int32(want)) {
			t.Errorf("status %d, code %d, want %d", got.Status, got.Code, want)
		}
	}
}

func TestOutputsAreApart(t *testing.T) {
	got := run(t, newSpawner(t), proc.Spec{Argv: as("both"), Stdout: true, Stderr: true}, nil)
	if got.stdout != "to stdout" || got.stderr != "to stderr" {
		t.Errorf("%+v", got)
	}
}

func TestOutputsAreMerged(t *testing.T) {
	got := run(t, newSpawner(t), proc.Spec{Argv: as("both"), Stdout: true, Merge: true}, nil)
	if got.stdout != "to stdoutto stderr" {
		t.Errorf("%+v", got)
	}
}

func TestStreamsThatNobodyWantsAreNull(t *testing.T) {
	s := newSpawner(t)
	if got := run(t, s, proc.Spec{Argv: as("both")}, nil); got.Code != 0 {
		t.Errorf("%+v", got)
	}
	if got := run(t, s, proc.Spec{Argv: as("cat"), Stdout: true}, nil); got.Code != 0 || got.stdout != "" {
		t.Errorf("%+v", got)
	}
}

func TestInputOf16MiBComesBack(t *testing.T) {
	noise := make([]byte, 16<<20)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(noise)
	got := run(t, newSpawner(t), proc.Spec{Argv: as("cat"), Stdout: true}, bytes.NewReader(noise))
	if sha256.Sum256([]byte(got.stdout)) != sha256.Sum256(noise) {
		t.Errorf("%d bytes, exit code %d", len(got.stdout), got.Code)
	}
}

func TestInputThatNobodyReadsIsThrownAway(t *testing.T) {
	if got := run(t, newSpawner(t), proc.Spec{Argv: as("exit", "4")}, bytes.NewReader(make([]byte, 1<<20))); got.Code != 4 {
		t.Errorf("%+v", got)
	}
}

func TestFiftyAtOnce(t *testing.T) {
	s := newSpawner(t)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			word := fmt.Sprint("word ", i)
			if got := run(t, s, proc.Spec{Argv: as("cat"), Stdout: true}, strings.NewReader(word)); got.stdout != word {
				t.Errorf("%+v", got)
			}
		})
	}
	all.Wait()
}

// threads counts those of this program.
func threads(tb testing.TB) (n int) {
	tb.Helper()
	all, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPTHREAD, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = windows.CloseHandle(all) }()
	var x windows.ThreadEntry32
	x.Size = uint32(unsafe.Sizeof(x))
	for err = windows.Thread32First(all, &x); err == nil; err = windows.Thread32Next(all, &x) {
		if x.OwnerProcessID == windows.GetCurrentProcessId() {
			n++
		}
	}
	return n
}

func TestSilentProcessesCostNoThreads(t *testing.T) {
	s := newSpawner(t)
	count := 200
	if testing.Short() {
		count = 70
	}
	before := threads(t)
	var all sync.WaitGroup
	var processes []*proc.Process
	for range count {
		p, err := s.Start(proc.Spec{Argv: as("sleep"), Stdin: true, Stdout: true, Stderr: true})
		if err != nil {
			t.Fatal(err)
		}
		processes = append(processes, p)
		all.Go(func() { finish(t, p, strings.NewReader("nobody reads this")) })
	}
	const most = 40
	if n := threads(t) - before; n > most {
		t.Errorf("%d more threads for %d processes", n, count)
	} else {
		t.Logf("%d more threads for %d processes", n, count)
	}
	for _, p := range processes {
		p.Terminate(0)
	}
	all.Wait()
}

// startTree starts three processes, one below the other, and returns their pids.
func startTree(t *testing.T, s *proc.Spawner) (*proc.Process, []int) {
	t.Helper()
	p, err := s.Start(proc.Spec{Argv: as("tree", "2"), Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	var out syncBuffer
	go func() { // ends with the tree
		_, _, _ = p.Stdout().CopyTo(&out)
	}()
	eventually(t, "three processes", func() bool { return strings.Count(out.String(), "\n") == 3 })
	var pids []int
	for _, word := range strings.Fields(out.String()) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return p, pids
}

// runs reports whether there is a process with a pid.
func runs(pid int) bool {
	h, err := windows.OpenProcess(windows.SYNCHRONIZE, false, uint32(pid))
	if err != nil {
		return false
	}
	defer func() { _ = windows.CloseHandle(h) }()
	state, err := windows.WaitForSingleObject(h, 0)
	return err == nil && state == uint32(windows.WAIT_TIMEOUT)
}

func TestTerminateEndsTheTree(t *testing.T) {
	s := newSpawner(t)
	for _, test := range []struct {
		name string
		end  func(*proc.Process) error
		code int
	}{
		{"Terminate", func(p *proc.Process) error { p.Terminate(linger); return nil }, 143},
		{"Terminate at once", func(p *proc.Process) error { p.Terminate(0); return nil }, 137},
		{"TERM", func(p *proc.Process) error { return p.Signal("TERM") }, 143},
		{"KILL", func(p *proc.Process) error { return p.Signal("KILL") }, 137},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, pids := startTree(t, s)
			if !runs(pids[0]) || !runs(pids[1]) || !runs(pids[2]) {
				t.Error("not all run", pids)
			}
			if err := test.end(p); err != nil {
				t.Error(err)
			}
			if got := finishQuietly(t, p); got.Code != test.code {
				t.Errorf("%+v", got)
			}
			for _, pid := range pids {
				eventually(t, "the tree has ended", func() bool { return !runs(pid) })
			}
			if err := p.Signal("TERM"); !errors.Is(err, proc.ErrExited) {
				t.Error(err)
			}
		})
	}
}

// finishQuietly reaps a process whose output somebody else copies.
func finishQuietly(t *testing.T, p *proc.Process) proc.Exit {
	t.Helper()
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	p.Drain(linger)
	e, err := p.Reap()
	if err != nil {
		t.Error(err)
	}
	return e
}

func TestBackgroundProcessIsLeftAloneAndHoldsUpNothing(t *testing.T) {
	got := run(t, newSpawner(t), proc.Spec{Argv: as("holder"), Stdout: true}, nil)
	pid, err := strconv.Atoi(strings.TrimSpace(got.stdout))
	if err != nil || got.Code != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	if !runs(pid) {
		t.Error("it does not run any more")
	}
	h, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	_ = h.Kill()
}

func TestNothingOutlivesTheAgentsDeath(t *testing.T) {
	p, err := newSpawner(t).Start(proc.Spec{Argv: as("agent"), Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	var out syncBuffer
	go func() { // ends with the process
		_, _, _ = p.Stdout().CopyTo(&out)
	}()
	eventually(t, "a process of the agent's", func() bool { return strings.HasSuffix(out.String(), "\n") })
	pid, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil || !runs(pid) {
		t.Fatalf("%q", out.String())
	}
	agent, err := os.FindProcess(p.PID()) // not by its job, which has all
	if err != nil {
		t.Fatal(err)
	}
	_ = agent.Kill()
	eventually(t, "it has ended too", func() bool { return !runs(pid) })
	finishQuietly(t, p)
}

func TestInterruptReachesTheConsoleOfTheProcessAlone(t *testing.T) {
	s := newSpawner(t)
	start := func() (*proc.Process, *syncBuffer) {
		p, err := s.Start(proc.Spec{Argv: as("interrupted"), Stdout: true})
		if err != nil {
			t.Fatal(err)
		}
		out := &syncBuffer{}
		go func() { // ends with the process
			_, _, _ = p.Stdout().CopyTo(out)
		}()
		eventually(t, "ready", func() bool { return strings.Contains(out.String(), "ready") })
		return p, out
	}
	p, out := start()
	other, quiet := start()
	if err := p.Signal("INT"); err != nil {
		t.Fatal(err)
	}
	if got := finishQuietly(t, p); got.Code != 5 {
		t.Errorf("%+v", got)
	}
	eventually(t, "it has said so", func() bool { return strings.Contains(out.String(), "interrupted") })
	if strings.Contains(quiet.String(), "interrupted") {
		t.Error("another one was interrupted, too")
	}
	other.Terminate(0)
	finishQuietly(t, other)
}

func TestOtherSignalsAreUnsupported(t *testing.T) {
	for _, name := range []string{"HUP", "1", "SIGUSR1", "nonsense", ""} {
		if _, err := proc.ParseSignal(name); !errors.Is(err, proc.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestArgumentsComeAsTheyAre(t *testing.T) {
	s := newSpawner(t)
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		var args []string
		for range random.IntN(8) {
			var word strings.Builder
			for range random.IntN(12) {
				word.WriteByte(`ab \"'^%&|<>()!*?$`[random.IntN(18)])
			}
			args = append(args, word.String())
		}
		got := run(t, s, proc.Spec{Argv: as("args", args...), Stdout: true}, nil)
		var back []string
		if err := json.Unmarshal([]byte(got.stdout), &back); err != nil || !slices.Equal(back, args) {
			t.Errorf("%q came as %q, %v", args, back, err)
		}
	}
}

func TestArgumentsStandVerbatim(t *testing.T) {
	s := newSpawner(t)
	got := run(t, s, proc.Spec{Argv: append(as("args"), `"a b" c`, `d\"e`), Verbatim: true, Stdout: true}, nil)
	if got.stdout != `["a b","c","d\"e"]`+"\n" {
		t.Errorf("%+v", got)
	}
	got = run(t, s, proc.Spec{Argv: []string{"cmd", "/c", `echo "a  b"`}, Verbatim: true, Stdout: true}, nil)
	if strings.TrimSpace(got.stdout) != `"a  b"` {
		t.Errorf("%+v", got)
	}
}

func TestCommandIsLookedUp(t *testing.T) {
	s := newSpawner(t)
	dir := t.TempDir()
	for _, name := range []string{"one.cmd", "two.BAT"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("@echo "+name+" %1\r\n"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	other := t.TempDir() // its file of that name is not what PATH leads to
	if err := os.WriteFile(filepath.Join(other, "one.cmd"), []byte("@echo another\r\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	path := "PATH=" + dir + `;C:\windows\system32`
	for _, test := range []struct {
		spec proc.Spec
		want string
	}{
		{proc.Spec{Argv: []string{"one"}, Env: []string{path}}, "one.cmd"},
		{proc.Spec{Argv: []string{"one", "x"}, Env: []string{path, "pathext=.Cmd"}}, "one.cmd x"},
		{proc.Spec{Argv: []string{"one", "--name=a,b;c"}, Env: []string{path}}, `one.cmd "--name=a,b;c"`},
		{proc.Spec{Argv: []string{"TWO"}, Env: []string{"Path=" + dir}}, "two.BAT"},
		{proc.Spec{Argv: []string{"one.cmd"}, Env: []string{path}}, "one.cmd"},
		{proc.Spec{Argv: []string{`.\one`}, Dir: dir}, "one.cmd"},
		{proc.Spec{Argv: []string{"one"}, Env: []string{path}, Dir: other}, "one.cmd"},
		{proc.Spec{Argv: []string{strings.TrimPrefix(filepath.Join(dir, "two"), filepath.VolumeName(dir))}, Dir: dir}, "two.BAT"},
		{proc.Spec{Argv: []string{filepath.Join(dir, "two")}}, "two.BAT"},
	} {
		test.spec.Stdout = true
		if got := run(t, s, test.spec, nil); strings.TrimSpace(got.stdout) != test.want {
			t.Errorf("%q: %+v", test.spec.Argv, got)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := newSpawner(t)
	dir := t.TempDir()
	text := filepath.Join(dir, "text.exe")
	batch, percent := filepath.Join(dir, "x.bat"), filepath.Join(dir, "%x%.bat")
	for _, path := range []string{text, batch, percent} {
		if err := os.WriteFile(path, []byte("@rem\r\n"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name string
		spec proc.Spec
		want error
		says string
	}{
		{"unknown", proc.Spec{Argv: []string{"no-such-command"}}, proc.ErrNotFound, "PATHEXT"},
		{"unknown with PATHEXT", proc.Spec{Argv: []string{"cmd"}, Env: []string{"PATHEXT=.COM"}}, proc.ErrNotFound, ".COM"},
		{"no such file", proc.Spec{Argv: []string{filepath.Join(dir, "none.exe")}}, proc.ErrNotFound, "none.exe"},
		{"no program", proc.Spec{Argv: []string{text}}, proc.ErrNotExecutable, "text.exe"},
		{"a directory", proc.Spec{Argv: []string{dir}}, proc.ErrNotExecutable, "it is a directory"},
		{"a user", proc.Spec{Argv: as("sleep"), User: "Administrator"}, proc.ErrUnsupported, "user"},
		{"relative directory", proc.Spec{Argv: as("sleep"), Dir: `\x`}, proc.ErrInvalid, "not absolute"},
		{"no directory", proc.Spec{Argv: as("sleep"), Dir: filepath.Join(dir, "none")}, proc.ErrInvalid, "none"},
		{"directory that is a file", proc.Spec{Argv: as("sleep"), Dir: text}, proc.ErrInvalid, "text.exe"},
		{"long command line", proc.Spec{Argv: as("sleep", strings.Repeat("x", 40_000))}, proc.ErrInvalid, "want at most 32766"},
		{"path of a batch file with a per cent sign", proc.Spec{Argv: []string{percent}}, proc.ErrInvalid, "cmd.exe"},
		{"batch file with a dot and a space behind it", proc.Spec{Argv: []string{batch + ". ", `"&calc`}}, nil, ""},
		{"drive-relative command", proc.Spec{Argv: []string{"C:x.exe"}}, proc.ErrInvalid, "drive"},
		{"batch file with a quote", proc.Spec{Argv: []string{batch, `"&calc`}}, proc.ErrInvalid, "cmd.exe"},
		{"NUL", proc.Spec{Argv: as("sleep", "a\x00b")}, proc.ErrInvalid, "NUL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := s.Start(test.spec)
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want %v with %q", err, test.want, test.says)
			}
			if err == nil {
				p.Terminate(0)
				finish(t, p, nil)
			}
		})
	}
}

func TestEnvironmentKnowsNoCase(t *testing.T) {
	t.Setenv("Agent_Own", "1")
	t.Setenv("GODEBUG", "madvdontneed=1")
	s := newSpawner(t)
	environment := func(spec proc.Spec) (env []string) {
		t.Helper()
		spec.Argv, spec.Stdout = as("environment"), true
		got := run(t, s, spec, nil)
		if err := json.Unmarshal([]byte(got.stdout), &env); err != nil {
			t.Fatalf("%+v, %v", got, err)
		}
		return env
	}
	env := environment(proc.Spec{Env: []string{"AGENT_OWN=2", "agent_own=3", "New=x"}})
	var found []string
	for _, entry := range env {
		key := strings.ToUpper(strings.SplitN(entry, "=", 2)[0])
		if key == "AGENT_OWN" || key == "NEW" || key == "GODEBUG" {
			found = append(found, entry)
		}
	}
	slices.Sort(found)
	if !slices.Equal(found, []string{"New=x", "agent_own=3"}) {
		t.Errorf("%q", found)
	}
	env = environment(proc.Spec{ClearEnv: true, Env: []string{"A=b"}})
	root := slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(strings.ToUpper(e), "SYSTEMROOT=") })
	if !slices.Contains(env, "A=b") || !root || slices.Contains(env, "Agent_Own=1") {
		t.Errorf("%q", env)
	}
}

func TestDirectory(t *testing.T) {
	s := newSpawner(t)
	dir := t.TempDir()
	if got := run(t, s, proc.Spec{Argv: as("directory"), Dir: dir, Stdout: true}, nil); !strings.EqualFold(got.stdout, dir) {
		t.Errorf("%+v, want %s", got, dir)
	}
	t.Setenv("USERPROFILE", dir)
	if got := run(t, newSpawner(t), proc.Spec{Argv: as("directory"), Stdout: true}, nil); !strings.EqualFold(got.stdout, dir) {
		t.Errorf("%+v, want %s", got, dir)
	}
	t.Setenv("USERPROFILE", `Z:\none`)
	if got := run(t, newSpawner(t), proc.Spec{Argv: as("directory"), Stdout: true}, nil); !strings.HasSuffix(got.stdout, `:\`) {
		t.Errorf("%+v, want the root of a drive", got)
	}
}

func TestLimitsAreTheJobs(t *testing.T) {
	s := newSpawner(t)
	p, err := s.Start(proc.Spec{Argv: as("sleep"), Limits: proc.Limits{Memory: 64 << 20, PIDs: 9}})
	if err != nil {
		t.Fatal(err)
	}
	want := proc.Limits{Memory: 64 << 20, PIDs: 9}
	got, flags := proc.LimitsOf(t, p)
	if wine() { // it takes them, and does not say what it has taken
		got, flags = proc.LimitsSet(want)
	}
	if wanted := uint32(windows.JOB_OBJECT_LIMIT_JOB_MEMORY | windows.JOB_OBJECT_LIMIT_ACTIVE_PROCESS | windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE); got != want || flags&wanted != wanted {
		t.Errorf("%+v, flags %#x", got, flags)
	}
	p.Terminate(0)
	finish(t, p, nil)
	p, err = s.Start(proc.Spec{Argv: as("sleep"), Limits: proc.Limits{CPU: 500}})
	switch {
	case errors.Is(err, proc.ErrUnsupported): // Wine
	case err != nil:
		t.Error(err)
	default:
		p.Terminate(0)
		finish(t, p, nil)
	}
}

func TestStartThatHangsIsGivenUp(t *testing.T) {
	s := newSpawner(t)
	held := proc.HoldCreateProcess(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.StartContext(ctx, proc.Spec{Argv: as("both"), Stdin: true, Stdout: true})
		done <- err
	}()
	<-held.Reached
	cancel()
	if err := <-done; !errors.As(err, new(*proc.HungError)) {
		t.Error(err)
	}
	if n := s.StartsStuck(); n != 1 {
		t.Errorf("%d hang", n)
	}
	held.Release()
	eventually(t, "it hangs no more", func() bool { return s.StartsStuck() == 0 })
}

func TestTerminalHasASizeInputAndOutput(t *testing.T) {
	s := newSpawner(t)
	p, err := s.Start(proc.Spec{Argv: as("console"), Terminal: &proc.Terminal{Size: proc.Size{Rows: 33, Cols: 77}}})
	if err != nil {
		t.Fatal(err)
	}
	got := finish(t, p, strings.NewReader("typed\r"))
	if got.Code != 3 || !strings.Contains(got.stdout, "size 33 77") || !strings.Contains(got.stdout, `line "typed"`) {
		t.Errorf("exit code %d, %q", got.Code, got.stdout)
	}
}

func TestTerminalEndsWithItsTree(t *testing.T) {
	s := newSpawner(t)
	p, err := s.Start(proc.Spec{Argv: as("sleep"), Terminal: &proc.Terminal{}})
	if err != nil {
		t.Fatal(err)
	}
	p.Terminate(linger)
	if got := finish(t, p, nil); got.Code != 143 {
		t.Errorf("%+v", got)
	}
}

// wine reports whether this is Wine and no Windows.
func wine() bool {
	return windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil
}

// A syncBuffer is a bytes.Buffer that one goroutine writes and another one reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
