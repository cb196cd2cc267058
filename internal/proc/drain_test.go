//go:build linux

package proc_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// Each of the daemons holds the output of a process that has exited.
func TestDrainCutsOutputThatIsSilent(t *testing.T) {
	s := newSpawner(t)
	for _, test := range []struct {
		name, daemon string
		want         string
		cut          bool
	}{
		{"silent for ever", "exec sleep 1000", "", true},
		{"silent after a word", "sleep 0.5; echo word; exec sleep 1000", "word\n", true},
		{"ends", "sleep 0.5; echo word", "word\n", false},
		{"ends in silence", "sleep 0.5", "", false},
		{"slow but steady", "for i in 1 2 3 4 5; do sleep 0.6; echo $i; done", "1\n2\n3\n4\n5\n", false},
		{"steady, then silent", "for i in 1 2 3 4; do sleep 0.6; echo $i; done; exec sleep 1000", "1\n2\n3\n4\n", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := start(t, s, proc.Spec{Argv: shell("(" + test.daemon + ") & echo $!; exit 8"), Stdout: true})
			begun := time.Now()
			daemon := c.stdout.pid(t, 1)
			got := c.finish(t)
			_, text, _ := strings.Cut(got.stdout, "\n")
			if text != test.want || got.cut != test.cut || got.Code != 8 {
				t.Errorf("got %q, cut: %v, %+v", text, got.cut, got.Exit)
			}
			if test.cut {
				kill(t, daemon)
				if took := time.Since(begun); took < proc.DrainIdle {
					t.Errorf("cut after %v", took)
				}
			}
		})
	}
}

func TestDrainCutsEachOutputByItself(t *testing.T) {
	c := start(t, newSpawner(t), proc.Spec{
		Argv: shell("echo out; sleep 1000 >/dev/null & echo $! >&2"), Stdout: true, Stderr: true,
	})
	daemon := c.stderr.pid(t, 1)
	got := c.finish(t)
	kill(t, daemon)
	if got.stdout != "out\n" || c.stdout.cut || !c.stderr.cut {
		t.Errorf("got %q, cut: %v, %v", got.stdout, c.stdout.cut, c.stderr.cut)
	}
}

// A late takes nothing before it is told to, and is told when that is asked for.
type late struct {
	tape
	asked chan struct{}
	goOn  chan struct{}
}

func (l *late) Write(p []byte) (int, error) {
	select {
	case l.asked <- struct{}{}:
	default:
	}
	<-l.goOn
	return l.tape.Write(p)
}

// It is the process's silence that counts, not the reader's.
func TestDrainLosesNothingToASlowReader(t *testing.T) {
	const size = 3_000_000
	p, err := newSpawner(t).Start(proc.Spec{Argv: shell("head -c 3000000 /dev/zero & exit 8"), Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	to := &late{asked: make(chan struct{}, 1), goOn: make(chan struct{})}
	copied := make(chan bool)
	go func() { // ended by the end of output, or the drain
		_, cut, _ := p.Stdout().CopyTo(to)
		copied <- cut
	}()
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	<-to.asked
	p.Drain(linger)
	<-time.After(proc.DrainIdle + proc.DrainIdle/2)
	close(to.goOn)
	if cut := <-copied; cut || len(to.String()) != size {
		t.Errorf("%d bytes of %d, cut: %v", len(to.String()), size, cut)
	}
	if exit, err := p.Reap(); err != nil || exit.Code != 8 {
		t.Errorf("Reap = %+v, %v, want code 8", exit, err)
	}
}

// talks is a daemon that is never silent for long.
const talks = `trap '' HUP; (while :; do echo word || exit; sleep 0.05; done) & `

func TestDrainEndsWithItsTime(t *testing.T) {
	s := newSpawner(t)
	for _, test := range []struct {
		name   string
		spec   proc.Spec
		linger time.Duration
		cut    bool
	}{
		{"pipe", proc.Spec{Argv: shell(talks + "exit 8"), Stdout: true}, 300 * time.Millisecond, true},
		{"terminal", proc.Spec{Argv: shell(talks + "exit 8"), Terminal: &proc.Terminal{}}, 300 * time.Millisecond, true},
		{"shorter than a silence", proc.Spec{Argv: shell("sleep 1000 & exit 8"), Stdout: true}, 100 * time.Millisecond, true},
		{"to the end, after a silence", proc.Spec{Argv: shell("(sleep 3; echo word) & exit 8"), Stdout: true}, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := start(t, s, test.spec)
			if err := c.Wait(); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			c.Drain(test.linger)
			c.copying.Wait()
			if took := time.Since(begun); took < test.linger {
				t.Errorf("drained in %v", took)
			}
			if c.stdout.cut != test.cut || test.linger == 0 && c.stdout.String() != "word\n" {
				t.Errorf("cut: %v, output %q", c.stdout.cut, c.stdout)
			}
			c.Terminate(0)
			c.finished = true
			if exit, err := c.Reap(); err != nil || exit.Code != 8 {
				t.Errorf("Reap = %+v, %v, want code 8", exit, err)
			}
		})
	}
}

// A late reader gets all that a terminal or pipe held at the exit.
func TestDrainReadsHeldOutputAfterItsTime(t *testing.T) {
	for name, test := range map[string]struct {
		spec proc.Spec
		size int // what it has room for
	}{
		"pipe":     {proc.Spec{Stdout: true}, 20_000},
		"terminal": {proc.Spec{Terminal: &proc.Terminal{}}, 3000},
	} {
		t.Run(name, func(t *testing.T) {
			test.spec.Argv = shell(fmt.Sprintf("trap '' HUP; printf begin; sleep 0.2; head -c %d /dev/zero; sleep 1000 & exit 8", test.size))
			p, err := newSpawner(t).Start(test.spec)
			if err != nil {
				t.Fatal(err)
			}
			to := &late{asked: make(chan struct{}, 1), goOn: make(chan struct{})}
			copied := make(chan bool)
			go func() { // ended by the drain
				_, cut, _ := p.Stdout().CopyTo(to)
				copied <- cut
			}()
			<-to.asked
			if err := p.Wait(); err != nil {
				t.Error(err)
			}
			p.Drain(100 * time.Millisecond)
			<-time.After(200 * time.Millisecond)
			close(to.goOn)
			if cut := <-copied; !cut || len(to.String()) != len("begin")+test.size {
				t.Errorf("%d bytes, cut: %v", len(to.String()), cut)
			}
			p.Terminate(0)
			if exit, err := p.Reap(); err != nil || exit.Code != 8 {
				t.Errorf("Reap = %+v, %v, want code 8", exit, err)
			}
		})
	}
}

// A process that has left the tree does not keep one that is ended.
func TestTerminateEndsADrainToTheEnd(t *testing.T) {
	s := newSpawner(t)
	c := start(t, s, proc.Spec{Argv: shell("setsid sh -c 'echo $$; exec sleep 1000' & exit 8"), Stdout: true})
	daemon := c.stdout.pid(t, 1)
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	c.Drain(0)
	eventually(t, "it has left the tree", func() bool { return statOf(daemon).state != "" })
	c.Terminate(0)
	c.copying.Wait()
	kill(t, daemon)
	c.finished = true
	if exit, err := c.Reap(); err != nil || exit.Code != 8 {
		t.Errorf("Reap = %+v, %v, want code 8", exit, err)
	}
}
