//go:build linux

package clone_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/hangtest"
	"github.com/cocoonstack/cocoon-agent/internal/proc/clone"
)

// interpretVariable has this program interpret a table instead of testing.
const interpretVariable = "CLONE_TEST_INTERPRET"

func TestMain(m *testing.M) {
	if os.Getenv(interpretVariable) != "" {
		in, out := uintptr(unix.Stdin), uintptr(unix.Stdout)
		files := [3]uintptr{}
		for i, fd := range []uintptr{in, out, out} {
			high, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 10)
			if err != nil {
				panic(err)
			}
			files[i] = uintptr(high)
		}
		clone.Interpret(&clone.Request{
			Paths: strings.Split(os.Getenv("PATHS"), ":"), Argv: os.Args, Env: []string{"A=b"},
			Dir: os.Getenv("DIR"), Files: files,
		})
	}
	goleak.VerifyTestMain(m)
}

// reap reaps for an Engine of a test.
func reap(pid int) bool {
	got, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
	return got != 0 || err != nil
}

// newEngine returns an engine, of the best way if that is 0.
func newEngine(tb testing.TB, way clone.Way) *clone.Engine {
	tb.Helper()
	if best, why := clone.Open(clone.Config{Way: 0}).Way(); way != 0 && way < best {
		tb.Skipf("no %v here: %v", way, why)
	}
	e := clone.Open(clone.Config{Fork: func(f func() (int, error)) (int, error) { return f() }, Reap: reap, Way: way})
	tb.Cleanup(func() {
		if err := e.Close(); err != nil {
			tb.Error(err)
		}
	})
	return e
}

// A request is one whose output is read.
type request struct {
	clone.Request
	out, in *os.File
}

func newRequest(tb testing.TB, paths []string, argv ...string) *request {
	tb.Helper()
	null, err := os.Open(os.DevNull)
	if err != nil {
		tb.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _, _, _ = null.Close(), r.Close(), w.Close() })
	return &request{
		Request: clone.Request{Paths: paths, Argv: argv, Env: os.Environ(), Dir: "/", Files: [3]uintptr{null.Fd(), w.Fd(), w.Fd()}},
		out:     r, in: w,
	}
}

// output starts r, and returns what it says and its exit status.
func (r *request) output(e *clone.Engine) (text string, status int, err error) {
	child, err := e.Start(context.Background(), &r.Request)
	_ = r.in.Close()
	if err != nil {
		return "", -1, err
	}
	defer child.PidFD.Close()
	all, err := io.ReadAll(r.out)
	var end unix.WaitStatus
	for {
		if _, waitErr := unix.Wait4(child.PID, &end, 0, nil); !errors.Is(waitErr, unix.EINTR) {
			return string(all), end.ExitStatus(), errors.Join(err, waitErr)
		}
	}
}

var ways = []clone.Way{clone.Table, clone.Copied, clone.Fork}

// eachWay runs a test with each way that works here.
func eachWay(t *testing.T, test func(*testing.T, *clone.Engine)) {
	t.Helper()
	for _, way := range ways {
		t.Run("way="+way.String(), func(t *testing.T) { test(t, newEngine(t, way)) })
	}
}

func TestStartRunsTheFirstPathThatWorks(t *testing.T) {
	dir := t.TempDir()
	closed, empty, script := filepath.Join(dir, "closed"), filepath.Join(dir, "empty"), filepath.Join(dir, "script")
	for path, f := range map[string]struct {
		text string
		mode os.FileMode
	}{closed: {"#!/bin/sh\n", 0o644}, empty: {"", 0o755}, script: {"#!/no/such\n", 0o755}} {
		if err := os.WriteFile(path, []byte(f.text), f.mode); err != nil {
			t.Fatal(err)
		}
	}
	eachWay(t, func(t *testing.T, e *clone.Engine) {
		for _, test := range []struct {
			name  string
			paths []string
			want  error // nil: it runs
			path  string
			found bool
			isDir bool
		}{
			{"first", []string{"/bin/echo"}, nil, "", false, false},
			{"last", []string{"/no/such", closed, "/etc/passwd/x", dir, script, "/bin/echo"}, nil, "", false, false},
			{"missing", []string{"/no/such", "/no/other"}, unix.ENOENT, "/no/other", false, false},
			{"EACCES counts most", []string{"/no/such", closed, "/no/other"}, unix.EACCES, closed, true, false},
			{"directory", []string{dir}, unix.EACCES, dir, true, true},
			{"missing interpreter", []string{"/no/such", script, "/no/other"}, unix.ENOENT, script, true, false},
			{"no program", []string{empty, "/bin/echo"}, unix.ENOEXEC, empty, true, false},
			{"name too long", []string{"/" + strings.Repeat("x", 5000)}, unix.ENAMETOOLONG, "", false, false},
		} {
			t.Run(test.name, func(t *testing.T) {
				text, status, err := newRequest(t, test.paths, "echo", "out").output(e)
				if test.want == nil {
					if text != "out\n" || status != 0 || err != nil {
						t.Errorf("it says %q, exits with %d, %v", text, status, err)
					}
					return
				}
				step, ok := errors.AsType[*clone.StepError](err)
				if !ok || step.Step != clone.StepExecve || !errors.Is(err, test.want) || test.path != "" &&
					(step.Path != test.path || step.Found != test.found || step.IsDir != test.isDir) {
					t.Errorf("Start = %+v, want %v of %s", err, test.want, test.path)
				}
			})
		}
	})
}

func TestStartNamesTheDirectoryThatFails(t *testing.T) {
	eachWay(t, func(t *testing.T, e *clone.Engine) {
		for dir, want := range map[string]error{"/no/such": unix.ENOENT, "/etc/passwd": unix.ENOTDIR} {
			r := newRequest(t, []string{"/bin/echo"}, "echo")
			r.Dir = dir
			_, _, err := r.output(e)
			step, ok := errors.AsType[*clone.StepError](err)
			if !ok || step.Step != clone.StepChdir || step.Path != dir || !errors.Is(err, want) {
				t.Errorf("Start in %s = %v, want %v", dir, err, want)
			}
			r = newRequest(t, []string{"/bin/pwd"}, "pwd")
			r.Dir, r.Home, r.Env = "", dir, nil
			child, err := e.Start(t.Context(), &r.Request)
			if err != nil {
				t.Fatal(err)
			}
			if !errors.Is(child.HomeErr, want) {
				t.Errorf("home %s: HomeErr = %v, want %v", dir, child.HomeErr, want)
			}
			_ = r.in.Close()
			if text, _ := io.ReadAll(r.out); string(text) != "/\n" {
				t.Errorf("home %s: it starts in %q", dir, text)
			}
			_, _ = unix.Wait4(child.PID, nil, 0, nil)
			_ = child.PidFD.Close()
		}
	})
}

// Each way has the same result, for random requests that are as large as the kernel
// takes, or a little more.
func TestRandomStartsEndAlikeEachWay(t *testing.T) {
	engines := map[clone.Way]*clone.Engine{}
	for _, way := range ways {
		if best, _ := clone.Open(clone.Config{}).Way(); way >= best {
			engines[way] = newEngine(t, way)
		}
	}
	seed := uint64(time.Now().UnixNano())
	starts := 40
	if os.Getenv("CLONE_STRESS") != "" {
		starts = 1000
	}
	random := rand.New(rand.NewPCG(seed, 1))
	for n := range starts {
		r := randomRequest(random)
		var first string
		for i, way := range slices.Backward(ways) {
			e, ok := engines[way]
			if !ok {
				continue
			}
			one := newRequest(t, r.Paths, r.Argv...)
			one.Env, one.Dir, one.User = r.Env, r.Dir, r.User
			text, status, err := one.output(e)
			got := fmt.Sprintf("%q, status %d, %s", text, status, alike(err))
			if i == len(ways)-1 {
				first = got
			} else if got != first {
				t.Fatalf("seed %d, start %d: %v: %.300s\n%v: %.300s", seed, n, way, got, clone.Fork, first)
			}
		}
	}
}

// alike describes an error as far as each way can know it.
func alike(err error) string {
	step, ok := errors.AsType[*clone.StepError](err)
	if ok && step.Step != clone.StepChdir && step.Step != clone.StepExecve {
		return step.Err.Error()
	}
	return fmt.Sprintf("%+v", step)
}

func randomRequest(r *rand.Rand) clone.Request {
	text := func(most int) string {
		b := make([]byte, r.IntN(most+1))
		for i := range b {
			b[i] = byte(1 + r.IntN(255))
		}
		return string(b)
	}
	// MAX_ARG_STRLEN is 128 KiB, the end included; PATH_MAX is 4096.
	sizes := []int{0, 1, 100, 4094, 4095, 4096, 131_070, 131_071, 131_072}
	c := clone.Request{
		Paths: [][]string{{"/usr/bin/printf"}, {"/no/such", "/etc/passwd", "/usr/bin/printf"}, {"/no/such"}, {"/etc"}, {"/" + text(5000)}}[r.IntN(5)],
		Argv:  []string{"printf", `%s\n`}, Env: []string{"A=" + strings.Repeat("e", sizes[r.IntN(len(sizes))])},
		Dir: []string{"/", "/tmp", "/no/such", "/etc/passwd", "/" + strings.Repeat("d/", r.IntN(2200))}[r.IntN(5)],
	}
	for range r.IntN(5) {
		c.Argv = append(c.Argv, text(100), strings.Repeat("a", sizes[r.IntN(len(sizes))]))
	}
	if os.Geteuid() == 0 && r.IntN(2) == 0 {
		c.User = &clone.User{UID: uint32(r.IntN(1 << 16)), GID: r.Uint32() >> 1}
		for range []int{0, 1, 65_536, 65_537}[r.IntN(4)] { // NGROUPS_MAX
			c.User.Groups = append(c.User.Groups, r.Uint32()>>1)
		}
	}
	return c
}

func TestManyStartsAtOnceLeaveNothing(t *testing.T) {
	e := newEngine(t, 0)
	starts, atOnce := 300, 64
	if os.Getenv("CLONE_STRESS") != "" { // .ci/nightly stress
		starts, atOnce = 5000, 2000
	}
	_, low := e.Free()
	stop := disturb(t)
	turns := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for n := range starts {
		turns <- struct{}{}
		r := newRequest(t, []string{"/no/such", "/bin/echo"}, "echo", fmt.Sprint(n))
		all.Go(func() {
			defer func() { <-turns }()
			text, status, err := r.output(e)
			_ = r.out.Close()
			if text != fmt.Sprintln(n) || status != 0 || err != nil {
				t.Errorf("start %d says %q, exits with %d, %v", n, text, status, err)
			}
		})
	}
	all.Wait()
	stop()
	if _, now := e.Free(); now != low {
		t.Errorf("%d of %d sets of low descriptors are free", now, low)
	}
	wantNoChildren(t)
}

// disturb takes a CPU profile, collects garbage, grows stacks and sends signals until stop
// is called.
func disturb(t *testing.T) (stop func()) {
	t.Helper()
	if err := pprof.StartCPUProfile(io.Discard); err != nil {
		t.Fatal(err)
	}
	end := make(chan struct{})
	var all sync.WaitGroup
	for _, f := range []func(){
		runtime.GC,
		func() { grow(1000) },
		func() { _ = unix.Kill(unix.Getpid(), unix.SIGURG); <-time.After(100 * time.Microsecond) },
	} {
		all.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
					f()
				}
			}
		})
	}
	return func() { close(end); all.Wait(); pprof.StopCPUProfile() }
}

func grow(n int) int {
	if n == 0 {
		return 0
	}
	var space [64]byte
	return grow(n-1) + int(space[n%64])
}

// wantNoChildren waits for the end of a child that was killed: on a busy machine the engine
// reaps it later.
func wantNoChildren(t *testing.T) {
	t.Helper()
	eventually(t, "no child is left", func() bool { return len(children()) == 0 })
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("children are left: %v", err)
	}
}

func TestUsersShareMemoryUnlessThatIsDumpable(t *testing.T) {
	e := newEngine(t, 0)
	if way, _ := e.Way(); way == clone.Fork {
		t.Skip("nothing is shared")
	}
	for text, want := range map[string]bool{"0\n": false, "1\n": true, "2\n": true, "": false} {
		setDumpable(t, e, text)
		if got := e.Apart(); got != want {
			t.Errorf("fs.suid_dumpable %q: apart = %v, want %v", text, got, want)
		}
	}
}

func TestStartThatSharesNoMemory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can change the user")
	}
	e := newEngine(t, 0)
	if way, _ := e.Way(); way == clone.Fork {
		t.Skip("nothing is shared")
	}
	setDumpable(t, e, "1\n")
	as := func(paths []string, argv ...string) *request {
		r := newRequest(t, paths, argv...)
		r.User = &clone.User{UID: 65534, GID: 65534, Groups: []uint32{65534}}
		return r
	}
	for range 20 {
		text, status, err := as([]string{"/no/such", "/bin/sh"}, "sh", "-c", "id -u; exit 3").output(e)
		if text != "65534\n" || status != 3 || err != nil {
			t.Errorf("it says %q, exits with %d, %v", text, status, err)
		}
	}
	refused := as([]string{"/bin/true"}, "true")
	refused.Dir = "/no/such"
	_, _, err := refused.output(e)
	if step, ok := errors.AsType[*clone.StepError](err); !ok || step.Path != "/no/such" || !errors.Is(err, unix.ENOENT) {
		t.Errorf("in a directory that is not there: %v", err)
	}
	m := hangtest.NewMount(t)
	m.Stop()
	held := as([]string{m.Path() + "/script"}, "script")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { // ends with ctx
		_, err := e.Start(ctx, &held.Request)
		ended <- err
	}()
	eventually(t, "a child hangs", func() bool { return len(children()) == 1 })
	wantApart(t, children()[0])
	cancel()
	err = <-ended
	if hung, ok := errors.AsType[*clone.HungError](err); !ok || hung.PID != 0 || hung.Step != clone.StepExecve || hung.Path != held.Paths[0] {
		t.Errorf("Start of what hangs = %v", err)
	}
	wantNoChildren(t)
}

// children are the pids of this program's children.
func children() (pids []string) {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		text, _ := os.ReadFile(list) // the thread may have ended
		pids = append(pids, strings.Fields(string(text))...)
	}
	return pids
}

// eventually waits for what tells of itself in no other way.
func eventually(tb testing.TB, what string, is func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("not within a minute: %s", what)
		}
	}
}

// wantApart checks that a process does not share our memory, kcmp(2).
func wantApart(tb testing.TB, child string) {
	tb.Helper()
	pid, err := strconv.Atoi(child)
	if err != nil {
		tb.Fatal(err)
	}
	const kcmpVM = 1
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(unix.Getpid()), uintptr(pid), kcmpVM, 0, 0, 0)
	switch errno {
	case 0:
		if order == 0 {
			tb.Error("the child shares memory")
		}
	case unix.ENOSYS, unix.EPERM:
		tb.Logf("whether the child shares memory cannot be told: kcmp: %v", errno)
	default:
		tb.Errorf("kcmp: %v", errno)
	}
}

// setDumpable has e read another fs.suid_dumpable.
func setDumpable(tb testing.TB, e *clone.Engine, text string) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "suid_dumpable")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := e.SetDumpable(path); err != nil {
		tb.Fatal(err)
	}
}

// The assembler, without clone3: an emulator of another architecture may lack that.
func TestTableIsCarriedOutAsWritten(t *testing.T) {
	if !slices.Contains([]string{"amd64", "arm64", "riscv64"}, runtime.GOARCH) {
		t.Skip("no assembler for this architecture")
	}
	for _, test := range []struct {
		paths, dir string
		args       []string
		want       string
		status     int
	}{
		{"/usr/bin/printf", "/", []string{`%s.`, "a", "", "b c"}, "a..b c.", 0},
		{"/no/such:/etc/passwd:/etc/passwd/x:/bin/pwd", "/usr", nil, "/usr\n", 0},
		{"/usr/bin/env", "/", nil, "A=b\n", 0},
		{"/no/such:/no/other", "/", nil, "", 253},
		{"/bin/pwd", "/no/such", nil, "", 253},
	} {
		self := strings.Fields(cmp.Or(os.Getenv("CLONE_TEST_BINARY"), "/proc/self/exe")) // see e2e/qemu/assembler.sh
		cmd := exec.Command(self[0], slices.Concat(self[1:], test.args)...)
		cmd.Env = []string{interpretVariable + "=1", "PATHS=" + test.paths, "DIR=" + test.dir}
		var out bytes.Buffer
		cmd.Stdout = &out
		_ = cmd.Run()
		if out.String() != test.want || cmd.ProcessState.ExitCode() != test.status {
			t.Errorf("%s in %s: %q, status %d, want %q, %d", test.paths, test.dir, &out, cmd.ProcessState.ExitCode(), test.want, test.status)
		}
	}
}
