//go:build linux

package proc_test

import (
	"io"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// A terminal has its own size after the nudges of several hosts, and after an upgrade in the middle of one.
func TestNudgeGivesTheSizeBack(t *testing.T) {
	want := proc.Size{Rows: 24, Cols: 80}
	p, err := newSpawner(t).Start(proc.Spec{Argv: shell("read -r x"), Terminal: &proc.Terminal{Size: want}})
	if err != nil {
		t.Fatal(err)
	}
	size := func() proc.Size {
		got, err := p.TerminalSize()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for range 3 {
		p.Nudge()
	}
	eventually(t, "the terminal has its own size", func() bool { return size() == want })
	for range 2 { // each host resizes it
		begun := time.Now()
		p.Nudge()
		if got := size(); got == want && time.Since(begun) < 50*time.Millisecond { // later it may be over
			t.Errorf("a nudged terminal has the size %+v", got)
		}
		if err := p.Resize(want); err != nil {
			t.Fatal(err)
		}
	}
	p.Nudge()
	p.Suspend()
	if got := size(); got != want {
		t.Errorf("a suspended terminal has the size %+v, want %+v", got, want)
	}
	p.Resume()
	copied := make(chan struct{})
	go func() { // ends with the process
		defer close(copied)
		_, _, _ = p.Stdout().CopyTo(io.Discard)
	}()
	p.Terminate(0)
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	p.Drain(time.Second)
	<-copied
	if _, err := p.Reap(); err != nil {
		t.Error(err)
	}
}
