package job

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/screen"
)

// Sizes of the memory that keeps the output of detached jobs.
const (
	// firstRing is what a ring takes at its first byte. It doubles up to its limit.
	firstRing = 4 << 10

	// DefaultRing is how many bytes of each output are kept unless a job asks for more or
	// fewer, and MaxRing is the most that it may ask for.
	DefaultRing = 256 << 10
	MaxRing     = 16 << 20

	// DefaultRings bounds the rings of a table together.
	DefaultRings = 32 << 20

	// How much a reader takes from a ring at a time: much, if not many readers hold as much.
	littleCarried = 16 << 10
	muchCarried   = 64 << 10
	maxMuch       = 16
)

// A BehindError says that output is not kept any more from the offset that a reader has
// asked for or reached, and where the kept output begins.
type BehindError struct {
	Stderr bool   // it is the output of standard error
	Want   uint64 // the offset that cannot be had
	Oldest uint64 // the oldest offset that can
	Newest uint64 // the end of the output so far
}

func (e *BehindError) Error() string {
	name := "stdout"
	if e.Stderr {
		name = "stderr"
	}
	if e.Want > e.Newest {
		return fmt.Sprintf("%s has no byte %d yet: it ends at %d", name, e.Want, e.Newest)
	}
	return fmt.Sprintf("%s is not kept from byte %d, only from %d to %d", name, e.Want, e.Oldest, e.Newest)
}

// A ring keeps the end of an output in memory, for readers that come and go. Offsets count
// the bytes of the output from its beginning. One goroutine writes; everything else may be
// called from any.
type ring struct {
	memory *memory
	limit  int  // of bytes that it keeps
	block  bool // a full ring holds the writer up until a reader has acknowledged bytes

	mu      sync.Mutex
	buf     []byte          // a power of two long; nil: nothing has come
	held    int             // bytes of memory that are the ring's
	oldest  uint64          // offset of the first byte that is kept
	newest  uint64          // offset of the end
	acked   uint64          // with block: bytes before it may be dropped
	readers []*reader       // those that have not left
	ended   bool            // there will be no more output
	screen  *screen.Tracker // of a terminal's output; nil: it is not one's
	loose   bool            // the job is being ended: without readers nothing holds the writer up

	suspended bool // nothing holds the writer up: it fails instead

	grown sync.Cond // newest, ended or a reader's state has changed
	freed sync.Cond // acked, readers or loose has changed
}

// newRing returns a ring of at most limit bytes, which is rounded up to a power of two, or
// nil if there is no memory. It takes firstRing of m, and makes its buffer later.
func newRing(m *memory, limit int, block bool) *ring {
	if !m.take(firstRing) {
		return nil
	}
	r := &ring{memory: m, limit: firstRing, block: block, held: firstRing}
	for r.limit < min(limit, MaxRing) {
		r.limit *= 2
	}
	r.grown.L, r.freed.L = &r.mu, &r.mu
	return r
}

// Write keeps p. It blocks while the ring is full if the ring is to hold its writer up. The
// error is [proc.ErrSuspended] if the ring is suspended and would block. A ring that does not
// block drops what it cannot keep.
func (r *ring) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		r.grow(len(p))
		took := r.keep(p)
		if took == 0 {
			return n - len(p), proc.ErrSuspended
		}
		p = p[took:]
	}
	return n, nil
}

// grow makes room for n more bytes, as far as the limits allow.
func (r *ring) grow(n int) {
	r.mu.Lock()
	size, held, want := len(r.buf), r.held, int(r.newest-r.oldest)+n
	r.mu.Unlock() // memory may be taken from another ring
	next := firstRing
	for next < min(want, r.limit) {
		next *= 2
	}
	if next <= size {
		return
	}
	if next > held && !r.memory.take(next-held) {
		if size > 0 {
			return
		}
		next = held
	}
	buf := make([]byte, next)
	r.mu.Lock()
	defer r.mu.Unlock()
	for at := r.oldest; at < r.newest; {
		part := r.partLocked(at, r.newest)
		copyTo(buf, at, part)
		at += uint64(len(part))
	}
	r.buf, r.held = buf, next
}

// copyTo copies p to where the ring buffer buf has the offset at. p fits.
func copyTo(buf []byte, at uint64, p []byte) {
	n := copy(buf[at&uint64(len(buf)-1):], p)
	copy(buf, p[n:])
}

// partLocked returns the bytes from at to end, or the first of them, as they are in buf.
func (r *ring) partLocked(at, end uint64) []byte {
	i := at & uint64(len(r.buf)-1)
	return r.buf[i:min(i+end-at, uint64(len(r.buf)))]
}

// keep takes the first bytes of p and returns how many: at least one, unless the ring is
// suspended.
func (r *ring) keep(p []byte) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	size := uint64(len(r.buf))
	p = p[:min(uint64(len(p)), size)]
	if r.block {
		for r.newest-r.neededLocked() >= size {
			if r.suspended {
				return 0
			}
			r.freed.Wait()
		}
		p = p[:min(uint64(len(p)), size-(r.newest-r.neededLocked()))]
	}
	copyTo(r.buf, r.newest, p)
	if r.screen != nil {
		_, _ = r.screen.Write(p)
	}
	r.newest += uint64(len(p))
	if r.newest-r.oldest > size {
		r.oldest = r.newest - size
	}
	r.acked = max(r.acked, r.oldest)
	r.grown.Broadcast()
	return len(p)
}

// neededLocked returns the offset of the first byte that a blocking ring must keep: the first
// one that nobody has acknowledged or, once the job is being ended, that a reader still is
// to read.
func (r *ring) neededLocked() uint64 {
	if !r.loose {
		return r.acked
	}
	needed := r.newest
	for _, d := range r.readers {
		needed = min(needed, d.at)
	}
	return max(needed, r.acked)
}

// Close says that there is no more output.
func (r *ring) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if r.buf == nil {
		r.memory.give(r.held)
		r.held = 0
	}
	r.grown.Broadcast()
	return nil
}

// loosen stops the ring from holding up its writer while nobody reads.
func (r *ring) loosen() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loose = true
	r.freed.Broadcast()
}

// drop gives the memory of a ring back whose output has ended, and reports whether there
// was any. The output in it is lost.
func (r *ring) drop() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held == 0 {
		return false
	}
	r.memory.give(r.held)
	r.buf, r.held = nil, 0
	r.oldest = r.newest
	r.grown.Broadcast()
	return true
}

// bounds returns which offsets are kept.
func (r *ring) bounds() (oldest, newest uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.oldest, r.newest
}

// ack lets bytes before the offset be dropped.
func (r *ring) ack(offset uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if offset = min(offset, r.newest); offset > r.acked {
		r.acked = offset
		r.freed.Signal()
	}
}

// reader returns a reader that begins at the offset at, unless from names another place. The
// error is not nil if that is not kept.
func (r *ring) reader(from From, at uint64) (*reader, *BehindError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case from.Oldest:
		at = r.oldest
	case from.Now:
		at = r.newest
	}
	if at < r.oldest || at > r.newest {
		return nil, &BehindError{Want: at, Oldest: r.oldest, Newest: r.newest}
	}
	d := &reader{ring: r, begin: at, at: at}
	r.readers = append(r.readers, d)
	return d, nil
}

// maxReplay is how much output of a terminal is repeated to restore its screen, in bytes.
const maxReplay = 64 << 10

// redrawer returns a reader that begins with the next output of a terminal, and the bytes
// that restore its screen before that. nudge says that its program is to draw.
func (r *ring) redrawer(how Redraw) (d *reader, before []byte, nudge bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d = &reader{ring: r, begin: r.newest, at: r.newest}
	r.readers = append(r.readers, d)
	winch := how == RedrawWinch || how == RedrawAuto && r.screen.Alternate()
	if !winch || r.screen.Alternate() { // the main screen comes back when the program ends
		before = r.mainLocked()
	}
	if r.screen.Alternate() {
		before = append(before, "\x1b[?1049h"...)
	}
	if winch {
		before = append(before, "\x1b[H\x1b[2J"...)
	}
	return d, append(before, r.screen.Modes()...), winch
}

// mainLocked returns the end of the output that went to the main screen, from the beginning
// of a line on.
func (r *ring) mainLocked() (output []byte) {
	from := max(r.oldest, r.newest-min(r.newest, maxReplay))
	if from > 0 {
		from = r.nextLineLocked(from)
	}
	r.screen.OnMain(from, r.newest, func(from, to uint64) {
		for from < to {
			part := r.partLocked(from, to)
			output = append(output, part...)
			from += uint64(len(part))
		}
	})
	return screen.WithoutQueries(output)
}

// nextLineLocked returns the offset of the first line that begins after from, or the end.
func (r *ring) nextLineLocked(from uint64) uint64 {
	for from < r.newest {
		part := r.partLocked(from, r.newest)
		if i := bytes.IndexByte(part, '\n'); i >= 0 {
			return from + uint64(i) + 1
		}
		from += uint64(len(part))
	}
	return from
}

var errReaderLeft = errors.New("the reader has left")

// A reader carries the output of a ring from an offset on. One goroutine calls next.
type reader struct {
	ring  *ring
	begin uint64 // the first offset
	at    uint64
	left  bool // guarded by the ring's mu
}

// wait waits until next has something to return.
func (d *reader) wait() {
	r := d.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	for d.at == r.newest && !r.ended && !d.left {
		r.grown.Wait()
	}
}

// next copies output to p and returns how much. done says that the output has ended, and p
// has the last of it. The error is a [*BehindError] or errReaderLeft.
func (d *reader) next(p []byte) (n int, done bool, err error) {
	r := d.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case d.left:
		return 0, false, errReaderLeft
	case d.at < r.oldest:
		return 0, false, &BehindError{Want: d.at, Oldest: r.oldest, Newest: r.newest}
	}
	for n < len(p) && d.at < r.newest {
		c := copy(p[n:], r.partLocked(d.at, r.newest))
		n += c
		d.at += uint64(c)
	}
	if r.loose {
		r.freed.Signal()
	}
	return n, r.ended && d.at == r.newest, nil
}

// leave ends next, now and for ever. It is idempotent.
func (d *reader) leave() {
	r := d.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	if d.left {
		return
	}
	d.left = true
	r.readers = slices.DeleteFunc(r.readers, func(other *reader) bool { return other == d })
	r.grown.Broadcast()
	r.freed.Broadcast()
}

// A memory bounds what rings hold together. It is safe for concurrent use.
type memory struct {
	limit int
	evict func() bool // gives back memory of a job that has ended; false: there is none

	mu   sync.Mutex
	used int
}

// take reserves n bytes, for which jobs that have ended may lose their output.
func (m *memory) take(n int) bool {
	for !m.tryTake(n) {
		if !m.evict() {
			return false
		}
	}
	return true
}

func (m *memory) tryTake(n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.used+n > m.limit {
		return false
	}
	m.used += n
	return true
}

func (m *memory) taken() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

func (m *memory) give(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used -= n
}
