package main

import (
	"os"
	"sync"

	"golang.org/x/term"

	"github.com/cocoonstack/cocoon-agent/client"
)

// A localTerminal is the one that the program runs on, as far as there is one.
type localTerminal struct {
	in, out int // descriptors; -1: not a terminal

	restoring sync.Once
	before    *term.State // of in, while it is raw
	plain     func()      // undoes what raw did to out; nil: nothing
}

func openLocalTerminal() *localTerminal {
	t := &localTerminal{in: -1, out: -1}
	if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
		t.in = fd
	}
	for _, f := range []*os.File{os.Stdout, os.Stdin, os.Stderr} {
		if fd := int(f.Fd()); term.IsTerminal(fd) {
			t.out = fd
			break
		}
	}
	return t
}

// tty is what the command's terminal begins as: as large as this one, and with the same
// modes, which raw changes.
func (t *localTerminal) tty() *client.TTY {
	tty := t.size()
	tty.Term = os.Getenv("TERM")
	if t.in >= 0 {
		tty.Modes, _ = client.ModesOf(os.Stdin) // without them it has the guest's own
	}
	return &tty
}

// size is 0 if it is not known.
func (t *localTerminal) size() (s client.TTY) {
	if t.out >= 0 {
		s = sizeOf(t.out)
	}
	return s
}

// raw hands every key through, ^C too, until restore.
func (t *localTerminal) raw() (err error) {
	if t.in < 0 {
		return nil
	}
	t.plain = showSequences(t.out)
	t.before, err = term.MakeRaw(t.in)
	return err
}

// restore undoes raw. It is idempotent and safe for concurrent use.
func (t *localTerminal) restore() {
	t.restoring.Do(func() {
		if t.before != nil {
			_ = term.Restore(t.in, t.before)
		}
		if t.plain != nil {
			t.plain()
		}
	})
}

// guarded runs f on a goroutine of its own. A panic there would end the program
// without main's deferred restore.
func (t *localTerminal) guarded(f func()) {
	go func() {
		defer func() {
			if p := recover(); p != nil {
				t.restore()
				panic(p)
			}
		}()
		f()
	}()
}

// follow gives cmd's terminal the size of this one whenever that changes, until
// stop is closed.
func (t *localTerminal) follow(cmd *client.Cmd, changes <-chan os.Signal, stop <-chan struct{}) {
	for {
		select {
		case <-changes:
			// The command's end is Wait's to tell.
			switch size := t.size(); {
			case size.Rows > 0 && size.Cols > 0:
				_ = cmd.ResizeTo(size)
			case t.out < 0: // whoever sent it to this program means the command
				_ = cmd.Signal(client.SignalName("WINCH"))
			}
		case <-stop:
			return
		}
	}
}
