package proc_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/windows"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

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
		t.Errorf("verbatim arguments: %+v, want a b, c and d\"e", got)
	}
	got = run(t, s, proc.Spec{Argv: []string{"cmd", "/c", `echo "a  b"`}, Verbatim: true, Stdout: true}, nil)
	if strings.TrimSpace(got.stdout) != `"a  b"` {
		t.Errorf("verbatim echo: %+v, want the quotes and spaces as they are", got)
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
			t.Errorf("run of %q = %+v, want %q", test.spec.Argv, got, test.want)
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
			t.Fatalf("Unmarshal(%+v) = %v", got, err)
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
		t.Errorf("the environment has %q, want New=x and agent_own=3", found)
	}
	env = environment(proc.Spec{ClearEnv: true, Env: []string{"A=b"}})
	root := slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(strings.ToUpper(e), "SYSTEMROOT=") })
	if !slices.Contains(env, "A=b") || !root || slices.Contains(env, "Agent_Own=1") {
		t.Errorf("the environment is %q, want A=b, SystemRoot, and nothing of the agent's", env)
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
