//go:build linux

package proc_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

func TestOutputsAreKeptApart(t *testing.T) {
	s := newSpawner(t)
	const script = "printf out; printf error >&2"
	for _, test := range []struct {
		spec           proc.Spec
		stdout, stderr string
	}{
		{proc.Spec{Stdout: true, Stderr: true}, "out", "error"},
		{proc.Spec{Stdout: true}, "out", ""},
		{proc.Spec{Stderr: true}, "", "error"},
		{proc.Spec{}, "", ""},
		{proc.Spec{Stdout: true, Stderr: true, Merge: true}, "outerror", ""},
		{proc.Spec{Stdout: true, Merge: true}, "outerror", ""},
		{proc.Spec{Merge: true}, "", ""},
	} {
		test.spec.Argv = shell(script)
		got := run(t, s, test.spec)
		if got.stdout != test.stdout || got.stderr != test.stderr || got.Code != 0 || got.cut {
			t.Errorf("%+v: got %+v", test.spec, got)
		}
	}
}

func TestStreamsThatAreNotWantedAreNil(t *testing.T) {
	c := start(t, newSpawner(t), proc.Spec{Argv: []string{"/bin/true"}, Merge: true, Stderr: true})
	if c.Stdin() != nil || c.Stdout() != nil || c.Stderr() != nil {
		t.Errorf("Stdin, Stdout, Stderr = %v, %v, %v, want nil", c.Stdin(), c.Stdout(), c.Stderr())
	}
}

func TestMergedOutputKeepsItsOrder(t *testing.T) {
	const lines = 2000
	script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo $i; i=$((i+1)); echo $i >&2; i=$((i+1)); done", lines)
	got := run(t, newSpawner(t), proc.Spec{Argv: shell(script), Stdout: true, Merge: true})
	var want strings.Builder
	for i := range lines {
		fmt.Fprintln(&want, i)
	}
	if got.stdout != want.String() {
		t.Errorf("got %d bytes, want %d, in another order", len(got.stdout), want.Len())
	}
}

// A slow takes its time for what is written to it.
type slow struct {
	tape
	pace *time.Ticker
}

func (s *slow) Write(p []byte) (int, error) {
	<-s.pace.C
	return s.tape.Write(p)
}

func TestSlowReaderGetsAllOutput(t *testing.T) {
	p, err := newSpawner(t).Start(proc.Spec{Argv: []string{"cat"}, Stdin: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	to := &slow{pace: time.NewTicker(2 * time.Millisecond)}
	defer to.pace.Stop()
	fed := make(chan error, 1)
	go func() { fed <- feed(p.Stdin(), newSource(newNoise(5, bulk/4))) }() // ended by its source
	n, cut, err := p.Stdout().CopyTo(to)
	if n != bulk/4 || cut || err != nil {
		t.Errorf("%d bytes, cut: %v, %v", n, cut, err)
	}
	if got, want := checksum(t, strings.NewReader(to.String())), checksum(t, newNoise(5, bulk/4)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := errors.Join(<-fed, p.Wait()); err != nil {
		t.Error(err)
	}
	if exit, err := p.Reap(); err != nil || exit.Code != 0 {
		t.Errorf("Reap = %+v, %v, want code 0", exit, err)
	}
}

// A failing takes some bytes and then fails.
type failing struct{ left int }

var errFull = errors.New("full")

func (f *failing) Write(p []byte) (int, error) {
	if len(p) <= f.left {
		f.left -= len(p)
		return len(p), nil
	}
	n := f.left
	f.left = 0
	return n, errFull
}

func TestProcessWhoseReaderFailsDoesNotBlock(t *testing.T) {
	const size = 1 << 20
	p, err := newSpawner(t).Start(proc.Spec{Argv: shell(fmt.Sprintf("head -c %d /dev/zero && exit 9", size)), Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	if n, cut, err := p.Stdout().CopyTo(&failing{left: 100_000}); n != 100_000 || cut || !errors.Is(err, errFull) {
		t.Errorf("%d bytes, cut: %v, %v", n, cut, err)
	}
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	if exit, err := p.Reap(); err != nil || exit.Code != 9 {
		t.Errorf("Reap = %+v, %v, want code 9", exit, err)
	}
}

// As many large copies as there can be and more; each gets what is its own.
func TestManyOutputsAtOnceAreNotMixed(t *testing.T) {
	s := newSpawner(t)
	var children []*child
	for i := range 40 {
		script := fmt.Sprintf("yes %d | head -c 1000000", i)
		children = append(children, start(t, s, proc.Spec{Argv: shell(script), Stdout: true}))
	}
	for i, c := range children {
		line := fmt.Sprintln(i)
		want := strings.Repeat(line, 1_000_000/len(line)+1)[:1_000_000]
		if got := c.finish(t); got.stdout != want || got.Code != 0 {
			t.Errorf("child %d: %d bytes, %+v", i, len(got.stdout), got.Exit)
		}
	}
}
