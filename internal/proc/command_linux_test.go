//go:build linux

package proc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// commands makes a directory with the scripts that say their names.
func commands(tb testing.TB, names ...string) string {
	tb.Helper()
	dir := tb.TempDir()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\nprintf '%s' \"$0\"\n"), 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

func TestCommandIsLookedUpWhereItRuns(t *testing.T) {
	t.Setenv("PATH", commands(t, "hello"))
	s := newSpawner(t)
	t.Setenv("PATH", "/nowhere") // of no account any more
	own, other := commands(t, "hello", "sub/hello"), commands(t, "other")
	unfit := t.TempDir()
	if err := os.WriteFile(filepath.Join(unfit, "hello"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, path, dir, command string
		want                     string // in own; empty: not found
	}{
		{"in the request's PATH", own, "/", "hello", "hello"},
		{"in a later directory", other + ":/nowhere:" + own, "/", "hello", "hello"},
		{"behind what is not executable", unfit + ":" + own, "/", "hello", "hello"},
		{"not in the agent's PATH", other, "/", "hello", ""},
		{"relative to Dir", "/nowhere", own, "./hello", "hello"},
		{"below Dir", "/nowhere", own, "sub/hello", "sub/hello"},
		{"relative to another Dir", "/nowhere", other, "./hello", ""},
		{"in a PATH relative to Dir", "sub", own, "hello", "sub/hello"},
		{"in an empty directory of PATH", "/nowhere::", own, "hello", "hello"},
		{"not in Dir", "/nowhere", own, "hello", ""},
		{"by its whole path", "/nowhere", "/", filepath.Join(own, "hello"), "hello"},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := proc.Spec{Argv: []string{test.command}, Env: []string{"PATH=" + test.path}, Dir: test.dir}
			if test.want == "" {
				refused(t, s, spec, proc.ErrNotFound)
				return
			}
			if got := output(t, s, spec); got != filepath.Join(own, test.want) {
				t.Errorf("ran %q", got)
			}
		})
	}
}

func TestCommandLookupWithClearedEnvironment(t *testing.T) {
	t.Setenv("PATH", "/nowhere")
	if got := output(t, newSpawner(t), proc.Spec{Argv: []string{"echo", "found"}, ClearEnv: true}); got != "found\n" {
		t.Errorf("got %q", got)
	}
}

func TestCommandKeepsItsArgumentsAsTheyAre(t *testing.T) {
	args := []string{"", " ", "a b", "-n", "$HOME", "*", "'\"", "\\n", "\n", "\xff\xfe", strings.Repeat("x", 100_000)}
	got := output(t, newSpawner(t), proc.Spec{Argv: shell(`printf '%s\0' "$0" "$@"`, args...)})
	if want := "sh\x00" + strings.Join(args, "\x00") + "\x00"; got != want {
		t.Errorf("got %.300q", got)
	}
}

func TestChildStartsInItsDirectory(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := newSpawner(t)
	if got := output(t, s, proc.Spec{Argv: []string{"pwd", "-P"}, Dir: dir}); got != dir+"\n" {
		t.Errorf("in %q, not in %q", got, dir)
	}
}

// A host may send variables of megabytes.
func TestSearchOfALongPathIsBounded(t *testing.T) {
	s := newSpawner(t)
	in := func(path, dir string) proc.Spec {
		return proc.Spec{Argv: []string{"x"}, ClearEnv: true, Env: []string{"PATH=" + path}, Dir: dir}
	}
	var many, most strings.Builder
	for i := range 1024 {
		fmt.Fprintf(&most, "/nowhere/%d:", i)
	}
	fmt.Fprintf(&many, "%s/nowhere", most.String())
	refused(t, s, in(many.String(), ""), proc.ErrInvalid)
	refused(t, s, in(strings.TrimSuffix(most.String(), ":"), ""), proc.ErrNotFound)
	for name, spec := range map[string]proc.Spec{
		"a directory again and again": in(strings.Repeat(":", 1<<20), ""),
		"a long directory":            in(most.String()[:len(most.String())-1], strings.Repeat("/x", 1<<20)),
		"a long name":                 {Argv: []string{strings.Repeat("x", 1<<17)}, ClearEnv: true, Env: []string{"PATH=" + most.String()}},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := s.Start(spec); err == nil {
			t.Errorf("%s: started", name)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 32<<20 {
			t.Errorf("%s: %d bytes were allocated", name, n)
		}
	}
	found := commands(t, "x")
	if got := output(t, s, in(strings.Repeat(found+"/no:", 500)+found, "")); got != found+"/x" {
		t.Errorf("ran %q, want %s/x", got, found)
	}
}
