//go:build linux

package proc_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/hangtest"
	"github.com/cocoonstack/cocoon-agent/internal/loadtest"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

const nobody = "65534:65534"

func TestStreamsBelongToTheUser(t *testing.T) {
	asRoot(t)
	s := newSpawner(t)
	for name, test := range map[string]struct {
		spec proc.Spec
		want string
	}{
		"stdout":   {proc.Spec{Argv: shell("echo out >/dev/stdout"), Stdout: true}, "out\n"},
		"stderr":   {proc.Spec{Argv: shell("echo err >/dev/stderr"), Stderr: true}, "err\n"},
		"merged":   {proc.Spec{Argv: shell("echo err >/dev/stderr"), Stdout: true, Merge: true}, "err\n"},
		"terminal": {proc.Spec{Argv: shell("echo tty >/dev/stdout"), Terminal: &proc.Terminal{}}, "tty\r\n"},
	} {
		test.spec.User = nobody
		if r := run(t, s, test.spec); r.stdout+r.stderr != test.want || r.Code != 0 {
			t.Errorf("%s: output %q, exit %+v, want %q and code 0", name, r.stdout+r.stderr, r.Exit, test.want)
		}
	}
	c := start(t, s, proc.Spec{Argv: []string{"/bin/sh", "/dev/stdin"}, User: nobody, Stdin: true, Stdout: true})
	if _, err := c.Stdin().CopyFrom(strings.NewReader("echo in\n")); err != nil {
		t.Error(err)
	}
	if r := c.finish(t); r.stdout != "in\n" {
		t.Errorf("stdin: %q, %+v", r.stdout, r.Exit)
	}
}

const rootsKey = "proc-test-key"

func TestAnotherUserHasASessionKeyringOfItsOwn(t *testing.T) {
	loadtest.Heavy(t)
	asRoot(t)
	if !inOwnProcess(t, func(cmd *exec.Cmd) {
		self, _ := os.Executable()
		cmd.Env = append(cmd.Environ(), roleVariable+"=keyed")
		cmd.Args = append([]string{self, self}, cmd.Args[1:]...)
	}) {
		return
	}
	s := newSpawner(t)
	keys := proc.Spec{Argv: []string{"cat", "/proc/keys"}}
	if got := output(t, s, keys); !strings.Contains(got, rootsKey) {
		t.Fatalf("the agent's user does not see its own key: %s", got)
	}
	keys.User = nobody
	got := output(t, s, keys)
	if strings.Contains(got, rootsKey) || !strings.Contains(got, "_ses") {
		t.Errorf("another user sees the keys %s", got)
	}
	// kernel.keys.maxkeys is how many one user may have.
	var all []*child
	for range 201 {
		all = append(all, start(t, s, proc.Spec{Argv: []string{"sleep", "1000"}, User: nobody}))
	}
	for _, c := range all { // at once: one after another each looks at all processes
		c.Terminate(0)
	}
}

func TestPathIsSearchedWithTheUsersRights(t *testing.T) {
	asRoot(t)
	closed, open := commands(t, "x"), openDir(t)
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	s := newSpawner(t)
	spec := proc.Spec{Argv: []string{"x"}, User: nobody, Dir: "/", Env: []string{"PATH=" + closed + ":/nowhere:" + open}}
	refused(t, s, spec, proc.ErrNotExecutable) // EACCES was all that was found
	script := filepath.Join(open, "x")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho $0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := output(t, s, spec); got != script+"\n" {
		t.Errorf("ran %q, want %s", got, script)
	}
}

func TestHomeThatMayNotBeEntered(t *testing.T) {
	asRoot(t)
	if !inOwnProcess(t, withOwnMounts) {
		return
	}
	home := t.TempDir()
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	bind(t, "/etc/passwd", fmt.Sprintf(passwd, home))
	s := newSpawner(t)
	c := start(t, s, proc.Spec{Argv: []string{"pwd"}, User: "plain", Stdout: true})
	if !slices.Equal(c.Notes(), []proc.Note{proc.NoteHome}) || !errors.Is(c.HomeError(), unix.EACCES) {
		t.Errorf("Notes = %q, HomeError = %v", c.Notes(), c.HomeError())
	}
	if r := c.finish(t); r.stdout != "/\n" {
		t.Errorf("it starts in %q", r.stdout)
	}
	c = start(t, s, proc.Spec{Argv: []string{"pwd"}, User: "bare", Stdout: true}) // has none
	if len(c.Notes()) != 0 || c.HomeError() != nil {
		t.Errorf("without a home: Notes = %q, HomeError = %v", c.Notes(), c.HomeError())
	}
	c.finish(t)
	_, err := s.Start(proc.Spec{Argv: []string{"pwd"}, User: "plain", Dir: home})
	if !errors.Is(err, proc.ErrNotPermitted) || !strings.Contains(err.Error(), "directory "+home) {
		t.Errorf("an explicit directory: %v", err)
	}
}

// The user of a child that hangs shares the agent's memory, and must not get at it.
func TestHeldChildIsOutOfItsUsersReach(t *testing.T) {
	asRoot(t)
	s := newSpawner(t)
	withTable(t, s)
	m := hangtest.NewMount(t)
	m.Stop()
	h := hold(t, s, proc.Spec{Argv: []string{"true"}, User: nobody, Dir: filepath.Join(m.Path(), "dir")})
	var pid int
	eventually(t, "the child has changed its user", func() bool {
		pid = childOf(65534)
		return pid != 0
	})
	const attack = `cat /proc/$1/mem; echo mem $?; cat /proc/$1/environ >/dev/null; echo environ $?; cat /proc/$1/maps >/dev/null; echo maps $?`
	r := run(t, s, proc.Spec{Argv: shell(attack, fmt.Sprint(pid)), User: nobody, Dir: "/", Stdout: true})
	if r.stdout != "mem 1\nenviron 1\nmaps 1\n" {
		t.Errorf("its user gets at %q", r.stdout)
	}
	h.end(t)
}

// childOf returns the child of this process that is a user's; 0: none.
func childOf(uid int) int {
	for _, pid := range proc.ChildPIDs() {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if strings.HasPrefix(field(string(status), "Uid"), fmt.Sprint(uid)) {
			return pid
		}
	}
	return 0
}

// A user may signal a child that has changed to it and is not the command yet.
func TestUserMeetsTheChildBeforeItsCommand(t *testing.T) {
	asRoot(t)
	s := newSpawner(t)
	withTable(t, s)
	for _, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			m := hangtest.NewMount(t)
			m.Stop()
			h := hold(t, s, proc.Spec{Argv: []string{"true"}, User: nobody, Dir: filepath.Join(m.Path(), "dir")})
			met := 0
			meet := func() bool {
				pid := childOf(65534)
				if pid != 0 {
					_ = unix.Kill(pid, sig)
					met++
				}
				return pid != 0
			}
			eventually(t, "the child has changed its user", meet)
			goesOn(t, s)
			if sig == unix.SIGSTOP {
				h.end(t)
				return
			}
			eventually(t, "the start gives up", func() bool {
				meet()
				return len(h.err) > 0
			})
			if err := <-h.err; !strings.Contains(err.Error(), "killed before it became the command") {
				t.Errorf("StartContext = %v", err)
			}
		})
	}
}

func TestAgentsScoreIsUnchangedByItsStarts(t *testing.T) {
	asRoot(t)
	if !has(unix.CAP_SYS_RESOURCE) {
		t.Skip("root lacks CAP_SYS_RESOURCE here")
	}
	if !inOwnProcess(t, asItIs) {
		return
	}
	if err := proc.Protect(); err != nil {
		t.Fatal(err)
	}
	s := newSpawner(t)
	for range 1000 {
		run(t, s, proc.Spec{Argv: []string{"true"}})
	}
	if got, err := os.ReadFile("/proc/self/oom_score_adj"); string(got) != "-1000\n" {
		t.Errorf("oom_score_adj = %q, %v", got, err)
	}
}

// The agent that has started a child that hangs is killed. The next one ends the child.
func TestNextAgentEndsAChildBeforeItsCommand(t *testing.T) {
	asRoot(t)
	const variable = "PROC_TEST_HELD"
	if held := os.Getenv(variable); held != "" {
		_, err := newCgroupSpawner(t).Start(proc.Spec{Argv: []string{held}})
		t.Fatalf("the start has ended: %v", err)
	}
	if way, _ := newCgroupSpawner(t).StartWay(); way != "clone3" {
		t.Skip("without close_range the child keeps the agent's lock: nothing proves that the agent is dead")
	}
	path := hangtest.NewProgram(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	agent := exec.Command(self, "-test.run=^"+t.Name()+"$")
	agent.Env = append(os.Environ(), variable+"="+path.Path())
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	child := path.Await(t)
	_ = agent.Process.Kill()
	_ = agent.Wait()
	if !alive(child) {
		t.Fatal("the child has ended with its agent")
	}
	newCgroupSpawner(t)
	eventually(t, "the child is dead", func() bool { return !alive(child) })
}
