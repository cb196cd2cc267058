package proc_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

func TestOutputsAreApart(t *testing.T) {
	got := run(t, newSpawner(t), proc.Spec{Argv: as("both"), Stdout: true, Stderr: true}, nil)
	if got.stdout != "to stdout" || got.stderr != "to stderr" {
		t.Errorf("run = %+v, want %q and %q", got, "to stdout", "to stderr")
	}
}

func TestOutputsAreMerged(t *testing.T) {
	got := run(t, newSpawner(t), proc.Spec{Argv: as("both"), Stdout: true, Merge: true}, nil)
	if got.stdout != "to stdoutto stderr" {
		t.Errorf("run = %+v, want %q", got, "to stdoutto stderr")
	}
}

func TestStreamsThatNobodyWantsAreNull(t *testing.T) {
	s := newSpawner(t)
	if got := run(t, s, proc.Spec{Argv: as("both")}, nil); got.Code != 0 {
		t.Errorf("run = %+v, want code 0", got)
	}
	if got := run(t, s, proc.Spec{Argv: as("cat"), Stdout: true}, nil); got.Code != 0 || got.stdout != "" {
		t.Errorf("run = %+v, want code 0 and no output", got)
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
		t.Errorf("run = %+v, want code 4", got)
	}
}

func TestFiftyAtOnce(t *testing.T) {
	s := newSpawner(t)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			word := fmt.Sprint("word ", i)
			if got := run(t, s, proc.Spec{Argv: as("cat"), Stdout: true}, strings.NewReader(word)); got.stdout != word {
				t.Errorf("run = %+v, want %q", got, word)
			}
		})
	}
	all.Wait()
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
		t.Errorf("exit %+v, want code 143", got)
	}
}

func TestResizeWaitsForNobody(t *testing.T) {
	s := newSpawner(t)
	resizes := proc.HoldResize(t)
	p, err := s.Start(proc.Spec{Argv: as("sleep"), Terminal: &proc.Terminal{}})
	if err != nil {
		t.Fatal(err)
	}
	for rows := range uint16(4) {
		if err := p.Resize(proc.Size{Rows: 10 + rows, Cols: 80}); err != nil {
			t.Error(err)
		}
		if rows == 0 {
			<-resizes.Reached
		}
	}
	p.Terminate(0)
	if got := finish(t, p, nil); got.Code != 137 {
		t.Errorf("exit %+v, want code 137", got)
	}
	resizes.Release()
	if err := p.Resize(proc.Size{Rows: 20, Cols: 80}); err == nil {
		t.Error("a terminal that is closed is resized")
	}
}
