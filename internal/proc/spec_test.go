//go:build linux

package proc_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

var classes = []error{
	proc.ErrInvalid, proc.ErrNotFound, proc.ErrNotExecutable,
	proc.ErrNotPermitted, proc.ErrResources, proc.ErrUnsupported,
}

// refused reports an error if Start does not refuse spec for class, and for that alone.
func refused(tb testing.TB, s *proc.Spawner, spec proc.Spec, class error) {
	tb.Helper()
	p, err := s.Start(spec)
	if err == nil {
		p.Terminate(0)
		_ = p.Wait()
		_, _ = p.Reap()
		tb.Errorf("%.200q as %q in %q: started", spec.Argv, spec.User, spec.Dir)
		return
	}
	for _, c := range classes {
		if errors.Is(err, c) != errors.Is(class, c) {
			tb.Errorf("%.200q: %.300v; want a case of %q alone", spec.Argv, err, class)
		}
	}
}

// file makes a file in a directory of the test.
func file(tb testing.TB, name, text string, mode os.FileMode) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		tb.Fatal(err)
	}
	return path
}

func TestStartClassesACommandThatCannotRun(t *testing.T) {
	s := newSpawner(t)
	dir := t.TempDir()
	for _, test := range []struct {
		name, command string
		class         error
	}{
		{"empty", "", proc.ErrNotFound},
		{"not in PATH", "no-such-command", proc.ErrNotFound},
		{"no such file", filepath.Join(dir, "no", "such"), proc.ErrNotFound},
		{"below a file", "/etc/passwd/sh", proc.ErrNotFound},
		{"name too long", "/" + strings.Repeat("x", 5000), proc.ErrNotFound},
		{"directory", dir, proc.ErrNotExecutable},
		{"root directory", "/", proc.ErrNotExecutable},
		{"directory in PATH", ".", proc.ErrNotExecutable},
		{"not executable", file(t, "data", "#!/bin/sh\n", 0o644), proc.ErrNotExecutable},
		{"no program", file(t, "noise", "\x01\x02\x03", 0o755), proc.ErrNotExecutable},
		{"script without #!", file(t, "plain", "exit 0\n", 0o755), proc.ErrNotExecutable},
		{"no interpreter", file(t, "script", "#!/no/such\n", 0o755), proc.ErrNotFound},
		{"interpreter below a file", file(t, "below", "#!/etc/passwd/sh\n", 0o755), proc.ErrNotFound},
		{"interpreter not executable", file(t, "unfit", "#!/etc/passwd\n", 0o755), proc.ErrNotExecutable},
	} {
		t.Run(test.name, func(t *testing.T) {
			refused(t, s, proc.Spec{Argv: []string{test.command}}, test.class)
			refused(t, s, proc.Spec{
				Argv: []string{test.command}, Stdin: true, Stdout: true, Stderr: true,
			}, test.class)
		})
	}
}

func TestStartClassesASpecThatMakesNoSense(t *testing.T) {
	s := newSpawner(t)
	command := []string{"/bin/true"}
	for _, test := range []struct {
		name string
		spec proc.Spec
	}{
		{"no argv", proc.Spec{}},
		{"NUL in argv[0]", proc.Spec{Argv: []string{"/bin/true\x00"}}},
		{"NUL in an argument", proc.Spec{Argv: []string{"/bin/true", "a\x00b"}}},
		{"NUL in the environment", proc.Spec{Argv: command, Env: []string{"A=\x00"}}},
		{"NUL in the cleared environment", proc.Spec{Argv: command, Env: []string{"A=\x00"}, ClearEnv: true}},
		{"environment without =", proc.Spec{Argv: command, Env: []string{"A"}}},
		{"environment without key", proc.Spec{Argv: command, Env: []string{"=A"}}},
		{"empty environment entry", proc.Spec{Argv: command, Env: []string{""}}},
		{"NUL in the directory", proc.Spec{Argv: command, Dir: "/\x00"}},
		{"no such directory", proc.Spec{Argv: command, Dir: "/no/such"}},
		{"relative directory", proc.Spec{Argv: command, Dir: "tmp"}},
		{"directory that is a file", proc.Spec{Argv: command, Dir: "/etc/passwd"}},
		{"argument too long", proc.Spec{Argv: []string{"/bin/true", strings.Repeat("x", 1<<20)}}},
		{"too many arguments", proc.Spec{Argv: slices.Repeat([]string{"/bin/true"}, 1<<20)}},
		{"environment too long", proc.Spec{Argv: command, Env: []string{"A=" + strings.Repeat("x", 1<<20)}}},
	} {
		t.Run(test.name, func(t *testing.T) { refused(t, s, test.spec, proc.ErrInvalid) })
	}
}

func TestStartNamesTheFieldThatHasANUL(t *testing.T) {
	s := newSpawner(t)
	command := []string{"/bin/true"}
	for want, spec := range map[string]proc.Spec{
		`argument "a\x00b" has a NUL byte`:             {Argv: []string{"/bin/true", "a\x00b"}},
		`environment entry "A=\x00" has a NUL byte`:    {Argv: command, Env: []string{"A=\x00"}},
		`directory "/tmp\x00" has a NUL byte`:          {Argv: command, Dir: "/tmp\x00"},
		`user "root\x00" has a NUL byte`:               {Argv: command, User: "root\x00"},
		`type of terminal "vt100\x00" has a NUL byte`:  {Argv: command, Terminal: &proc.Terminal{Term: "vt100\x00"}},
		`type of terminal "vt100\x00x" has a NUL byte`: {Argv: command, ClearEnv: true, Terminal: &proc.Terminal{Term: "vt100\x00x"}},
	} {
		refused(t, s, spec, proc.ErrInvalid)
		if _, err := s.Start(spec); err == nil || err.Error() != want {
			t.Errorf("Start(%+v) = %v, want %s", spec, err, want)
		}
	}
}

func TestStartRejectsUnknownUsersAndGroups(t *testing.T) {
	s := newSpawner(t)
	for _, user := range []string{
		"no-such-user", "no such user", "root\x00", "root\n", " root", ":", ":0", "root:", "root:no-such-group", "root:0:0",
		"-1", "+1", "0x10", "1.0", "4294967295", "4294967296", "18446744073709551616",
		"0:-1", "0:4294967295", "0:4294967296", "0:18446744073709551616", "0:0\x00",
	} {
		refused(t, s, proc.Spec{Argv: []string{"/bin/true"}, User: user}, proc.ErrInvalid)
	}
}

func TestStartTellsTheCommandInItsError(t *testing.T) {
	s := newSpawner(t)
	script := file(t, "script", "#!/no/such\n", 0o755)
	for _, test := range []struct {
		spec proc.Spec
		want string
	}{
		{
			proc.Spec{Argv: []string{"nothing"}, Env: []string{"PATH=/bin:/usr/bin"}},
			`"nothing": command not found in PATH=/bin:/usr/bin`,
		},
		{proc.Spec{Argv: []string{"/tmp"}}, "/tmp: not executable: it is a directory"},
		{proc.Spec{Argv: []string{script}}, script + ": its interpreter or loader: command not found: no such file or directory"},
	} {
		if _, err := s.Start(test.spec); err == nil || err.Error() != test.want {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
}
