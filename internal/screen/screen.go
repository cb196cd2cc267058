// Package screen follows what the output of a terminal does to the terminal's modes, so
// that they can be restored in another one. It keeps no picture of the screen.
//
// The sequences are those of ECMA-48 and xterm's control sequences
// (https://invisible-island.net/xterm/ctlseqs/ctlseqs.html).
package screen

import (
	"bytes"
	"fmt"
	"slices"
)

// Bounds of what a program can have a Tracker keep.
const (
	maxParameters = 64 // bytes of the parameters of one sequence; longer ones are ignored
	maxModes      = 32 // private modes that differ from their defaults
	maxAlternates = 16 // past uses of the alternate screen
)

// A Tracker follows the output of one terminal. Its zero value is a terminal that has just
// been reset. It is not safe for concurrent use.
type Tracker struct {
	state      state
	parameters []byte // of the sequence that has begun; its intermediate bytes, too
	tooLong    bool

	offset    uint64    // of the next byte of the output
	begun     uint64    // offset of the sequence that has begun
	modes     []mode    // private modes that are not as after a reset
	charsets  [2]byte   // designated as G0 and G1; 0: ASCII
	shifted   bool      // G1 is in use
	keypad    bool      // application keypad
	insert    bool      // IRM
	region    []byte    // parameters of the scroll region; empty: the whole screen
	cursor    byte      // shape, as DECSCUSR has it; 0: the default
	alternate bool      // the alternate screen is in use
	entered   uint64    // the offset at which it began to be
	past      []segment // earlier uses of it
}

// A mode is a private mode and whether it is set.
type mode struct {
	number int
	set    bool
}

// A segment is a part of the output, from one offset to another.
type segment struct{ from, to uint64 }

type state int

const (
	ground   state = iota
	escape         // ESC
	sequence       // ESC [
	text           // a string that ESC \ or BEL ends: OSC, DCS, SOS, PM, APC
	textEsc        // ESC within it
	charset0       // ESC (
	charset1       // ESC )
	skipOne        // ESC and an intermediate byte: the next byte ends it
)

// Write follows p. It never fails.
func (t *Tracker) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if t.state == ground { // as most bytes are
			i := plain(p)
			t.offset += uint64(i)
			if p = p[i:]; len(p) == 0 {
				break
			}
		}
		t.step(p[0])
		t.offset++
		p = p[1:]
	}
	return n, nil
}

// The control characters that mean something to a Tracker.
const (
	bel = 0x07
	so  = 0x0e
	si  = 0x0f
	can = 0x18
	sub = 0x1a
	esc = 0x1b
)

// plain returns how many bytes at the beginning of p mean nothing to a Tracker.
func plain(p []byte) int {
	for i, c := range p {
		if c == esc || c == so || c == si {
			return i
		}
	}
	return len(p)
}

func (t *Tracker) step(c byte) {
	switch {
	case c == esc && t.state != text:
		if t.state != textEsc {
			t.begun = t.offset
		}
		t.state = escape
		return
	case (c == can || c == sub) && t.state != ground: // they end a sequence
		t.state = ground
		return
	}
	switch t.state {
	case ground:
		t.shifted = c == so || c != si && t.shifted
	case escape:
		t.escaped(c)
	case sequence:
		t.inSequence(c)
	case text:
		switch c {
		case bel:
			t.state = ground
		case esc:
			t.state = textEsc
		}
	case textEsc: // whatever it is, the string is over
		t.state = ground
		if c != '\\' {
			t.escaped(c)
		}
	case charset0, charset1:
		if c >= '0' && c <= '~' { // one of two bytes is not followed
			t.charsets[t.state-charset0] = c
		}
		t.state = ground
	case skipOne:
		t.state = ground
	}
}

// escaped is what follows ESC.
func (t *Tracker) escaped(c byte) {
	t.state = ground
	switch c {
	case '[':
		t.state, t.parameters, t.tooLong = sequence, t.parameters[:0], false
	case ']', 'P', 'X', '^', '_':
		t.state = text
	case '(':
		t.state = charset0
	case ')':
		t.state = charset1
	case '=', '>':
		t.keypad = c == '='
	case 'c': // RIS
		t.leaveAlternate()
		t.reset()
	default:
		if c >= ' ' && c <= '/' {
			t.state = skipOne
		}
	}
}

// reset is what a reset does, hard or soft.
func (t *Tracker) reset() {
	t.modes, t.charsets, t.shifted = nil, [2]byte{}, false
	t.keypad, t.insert, t.region, t.cursor = false, false, nil, 0
}

// inSequence is what follows ESC [.
func (t *Tracker) inSequence(c byte) {
	switch {
	case c >= ' ' && c <= '?':
		if len(t.parameters) == maxParameters {
			t.tooLong = true
			return
		}
		t.parameters = append(t.parameters, c)
	case c >= '@' && c <= '~':
		t.state = ground
		if !t.tooLong {
			t.finish(c)
		}
	}
}

// finish carries out a sequence.
func (t *Tracker) finish(final byte) {
	p := t.parameters
	switch {
	case final == 'h' || final == 'l':
		set := final == 'h'
		if rest, private := bytes.CutPrefix(p, []byte("?")); private {
			for _, n := range numbers(rest) {
				t.setPrivate(n, set)
			}
		} else if slices.Contains(numbers(p), 4) {
			t.insert = set
		}
	case final == 'r' && !bytes.ContainsAny(p, "?>=<$"):
		t.region = nil
		if n := numbers(p); len(n) == 2 {
			t.region = bytes.Clone(p)
		}
	case final == 'q' && bytes.HasSuffix(p, []byte(" ")):
		t.cursor = 0
		if len(p) == 2 && p[0] >= '0' && p[0] <= '6' {
			t.cursor = p[0]
		}
	case final == 'p' && string(p) == "!": // DECSTR
		t.reset()
	}
}

// numbers returns the parameters of a sequence, or nil if they are not numbers.
func numbers(p []byte) []int {
	var all []int
	for part := range bytes.SplitSeq(p, []byte(";")) {
		n := 0
		for _, c := range part {
			if c < '0' || c > '9' || n > 9999 {
				return nil
			}
			n = 10*n + int(c-'0')
		}
		all = append(all, n)
	}
	return all
}

// byDefault are the private modes that are set after a reset: lines wrap, and the cursor can
// be seen.
var byDefault = []int{7, 25}

// restored are the private modes that are restored, but for those of the alternate screen. They
// are keys of the cursor, reverse video, origin, wrapping, the cursor's blinking and visibility,
// the mouse, focus, scrolling by wheel, and marks around pasted text.
var restored = []int{1, 5, 6, 7, 9, 12, 25, 45, 66, 1000, 1002, 1003, 1004, 1005, 1006, 1007, 1015, 1016, 2004}

func (t *Tracker) setPrivate(n int, set bool) {
	if n == 47 || n == 1047 || n == 1049 {
		if set {
			t.enterAlternate()
		} else {
			t.leaveAlternate()
		}
		return
	}
	if !slices.Contains(restored, n) {
		return
	}
	t.modes = slices.DeleteFunc(t.modes, func(m mode) bool { return m.number == n })
	if set != slices.Contains(byDefault, n) && len(t.modes) < maxModes {
		t.modes = append(t.modes, mode{n, set})
	}
}

func (t *Tracker) enterAlternate() {
	if !t.alternate {
		t.alternate, t.entered = true, t.begun
	}
}

func (t *Tracker) leaveAlternate() {
	if !t.alternate {
		return
	}
	t.alternate = false
	if len(t.past) == maxAlternates {
		t.past = t.past[1:]
	}
	t.past = append(t.past, segment{t.entered, t.offset + 1})
}

// Alternate reports whether the alternate screen is in use, as full-screen programs do.
func (t *Tracker) Alternate() bool { return t.alternate }

// Modes returns what brings a terminal that was reset to the present modes. It does not
// switch to the alternate screen.
func (t *Tracker) Modes() []byte {
	var b bytes.Buffer
	for _, m := range t.modes {
		final := 'l'
		if m.set {
			final = 'h'
		}
		fmt.Fprintf(&b, "\x1b[?%d%c", m.number, final)
	}
	for i, c := range t.charsets {
		if c != 0 && c != 'B' {
			fmt.Fprintf(&b, "\x1b%c%c", "()"[i], c)
		}
	}
	if t.shifted {
		b.WriteByte(so)
	}
	if t.keypad {
		b.WriteString("\x1b=")
	}
	if t.insert {
		b.WriteString("\x1b[4h")
	}
	if t.cursor != 0 {
		fmt.Fprintf(&b, "\x1b[%c q", t.cursor)
	}
	if len(t.region) > 0 {
		fmt.Fprintf(&b, "\x1b7\x1b[%sr\x1b8", t.region) // it moves the cursor
	}
	return b.Bytes()
}

// OnMain calls f for the parts of the output between two offsets that went to the main
// screen, in order. Only the last uses of the alternate screen are known.
func (t *Tracker) OnMain(from, to uint64, f func(from, to uint64)) {
	past := t.past
	if t.alternate {
		past = append(slices.Clip(past), segment{t.entered, to})
	}
	for _, s := range past {
		if s.from > from && from < to {
			f(from, min(s.from, to))
		}
		from = max(from, s.to)
	}
	if from < to {
		f(from, to)
	}
}

// WithoutQueries returns output without the sequences that a terminal answers: it would answer
// them again when they are repeated to it, and a program would take that for typing. It reuses
// the memory of output.
func WithoutQueries(output []byte) []byte {
	kept := output[:0]
	for len(output) > 0 {
		n := plainText(output)
		kept = append(kept, output[:n]...)
		output = output[n:]
		if len(output) == 0 {
			break
		}
		n = sequenceLength(output)
		if !isQuery(output[:n]) {
			kept = append(kept, output[:n]...)
		}
		output = output[n:]
	}
	return kept
}

const enq = 0x05 // answered by a text of the terminal's own

func plainText(p []byte) int {
	for i, c := range p {
		if c == esc || c == enq {
			return i
		}
	}
	return len(p)
}

// sequenceLength returns the length of the sequence, or the character, at the beginning of p.
func sequenceLength(p []byte) int {
	if len(p) < 2 || p[0] != esc {
		return 1
	}
	switch p[1] {
	case '[':
		for i, c := range p[2:] {
			if c < ' ' || c > '?' {
				return i + 3
			}
		}
		return len(p)
	case ']', 'P', 'X', '^', '_':
		for i, c := range p[2:] {
			switch {
			case c == bel:
				return i + 3
			case c == esc && len(p) > i+3 && p[i+3] == '\\':
				return i + 4
			case c == esc:
				return i + 2 // another one begins
			}
		}
		return len(p)
	default:
		return 2
	}
}

// isQuery reports whether a terminal answers a sequence.
func isQuery(p []byte) bool {
	if p[0] == enq {
		return true
	}
	if len(p) < 2 {
		return false
	}
	last := p[len(p)-1]
	switch p[1] {
	case 'Z': // DECID
		return true
	case '[':
		parameters := p[2 : len(p)-1]
		switch last {
		case 'n', 'c', 'x': // reports of status, attributes, parameters
			return true
		case 'p': // DECRQM
			return bytes.HasSuffix(parameters, []byte("$"))
		case 'q': // XTVERSION
			return bytes.HasPrefix(parameters, []byte(">"))
		case 'u': // keyboard flags
			return string(parameters) == "?"
		case 't': // of the window; numbers from 11 on ask
			n := numbers(parameters)
			return len(n) > 0 && n[0] >= 11 && n[0] <= 21
		}
		return false
	case ']': // colours, the clipboard
		return bytes.Contains(p, []byte(";?"))
	case 'P': // DECRQSS, XTGETTCAP
		return bytes.HasPrefix(p[2:], []byte("$q")) || bytes.HasPrefix(p[2:], []byte("+q"))
	}
	return false
}
