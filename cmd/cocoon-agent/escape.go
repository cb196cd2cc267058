package main

import (
	"fmt"
	"io"
	"sync"
)

// escapeHelp is what ~? says. The terminal is raw.
const escapeHelp = "\r\n~.  leave the session\r\n~?  this help\r\n~~  type a ~\r\n"

// noEscape is the value of --escape that turns it off.
const noEscape = "none"

// escapeChar reads --escape: one ASCII character, ^X for a control character,
// or none. 0: none.
func escapeChar(s string) (byte, error) {
	switch {
	case s == noEscape:
		return 0, nil
	case len(s) == 1 && s[0] > ' ' && s[0] < 0x7f:
		return s[0], nil
	case len(s) == 2 && s[0] == '^' && s[1] >= '@' && s[1] <= '_':
		return s[1] - '@', nil
	default:
		return 0, fmt.Errorf("--escape %q: want one character, ^X for a control character, or %s", s, noEscape)
	}
}

// An escaper finds the escape character at the start of a line of what is typed.
//
//	line start → escaped (the escape character) → line start or within a line
type escaper struct {
	char byte // 0: none
	help func()

	within  bool // not at the start of a line
	escaped bool // the escape character has been typed, and not been passed on
}

// pass returns what of typed is for the command, in place, and whether the
// user wants to leave.
func (e *escaper) pass(typed []byte) (passed []byte, leave bool) {
	if e.char == 0 {
		return typed, false
	}
	passed = make([]byte, 0, len(typed)+1)
	for _, c := range typed {
		switch {
		case e.escaped:
			e.escaped = false
			if c == '.' {
				return passed, true
			}
			if c == '?' {
				e.help()
				continue // still at the start of a line
			}
			if c != e.char {
				passed = append(passed, e.char)
			}
		case c == e.char && !e.within:
			e.escaped = true
			continue
		}
		e.within = c != '\r' && c != '\n'
		passed = append(passed, c)
	}
	return passed, false
}

// maxTyped is how much typing is read ahead of a session that takes none, so
// that the escape is found; beyond, it waits in the terminal.
const maxTyped = 1 << 20

// A keyboard reads the terminal ahead of the command, and is the command's
// input. The escape must work while nothing can be sent.
type keyboard struct {
	from  io.Reader
	keys  escaper
	leave func() // called once the user wants to leave

	mu     sync.Mutex
	change *sync.Cond // broadcast when a field below changes
	typed  []byte
	err    error // of from, or io.EOF
}

func newKeyboard(from io.Reader, char byte, help, leave func()) *keyboard {
	k := &keyboard{from: from, keys: escaper{char: char, help: help}, leave: leave}
	k.change = sync.NewCond(&k.mu)
	return k
}

// run reads until the end of the terminal. Nobody waits for it: it ends with
// the program.
func (k *keyboard) run() {
	var buf [4096]byte
	for {
		n, err := k.from.Read(buf[:])
		passed, leave := k.keys.pass(buf[:n])
		if leave {
			k.leave()
		}
		if !k.put(passed, err) {
			return
		}
	}
}

// put waits for room. It says whether there is more to read.
func (k *keyboard) put(typed []byte, err error) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.typed)+len(typed) > maxTyped {
		k.change.Wait()
	}
	k.typed = append(k.typed, typed...)
	k.err = err
	k.change.Broadcast()
	return err == nil
}

// Read returns what has been typed.
func (k *keyboard) Read(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.typed) == 0 && k.err == nil {
		k.change.Wait()
	}
	if len(k.typed) == 0 {
		return 0, k.err
	}
	n := copy(p, k.typed)
	k.typed = append(k.typed[:0], k.typed[n:]...)
	k.change.Broadcast()
	return n, nil
}
