//go:build linux

package clone

import (
	"os"
	"time"
)

// Interpret carries out the table of a request in this process, which becomes the
// program or exits. It tests the assembler even if there is no clone3.
func Interpret(r *Request) {
	e := engine{way: Table}
	s, err := newSlot(sizeOf(r))
	if err != nil {
		panic(err)
	}
	interpret(e.write(s, r, r.Files, false, -1).at(0))
}

// SetDumpable has e read another file for fs.suid_dumpable.
func (e *Engine) SetDumpable(path string) error {
	f, err := os.Open(path)
	if err == nil {
		_ = e.dumpable.Close()
		e.dumpable = f
	}
	return err
}

// SetKillTime has e wait for that long for a child that has been sent SIGKILL.
func (e *Engine) SetKillTime(d time.Duration) { e.killTime = d }

// Apart says whether a start as another user gets a copy of the memory.
func (e *Engine) Apart() bool { return e.apart() }

// Free returns how many slots and sets of low descriptors are free.
func (e *Engine) Free() (slots, low int) {
	e.slots.mu.Lock()
	defer e.slots.mu.Unlock()
	e.low.mu.Lock()
	defer e.low.mu.Unlock()
	return len(e.slots.free), len(e.low.free)
}

// TakeLow takes a set of low descriptors, as a start does that goes on after Close.
// It returns the first, and how the start gives them back.
func (e *Engine) TakeLow() (first int, give func(), ok bool) {
	first, ok = e.low.take([3]uintptr{0, 1, 2})
	return first, func() { e.low.give(first) }, ok
}
