package mux

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// readTime is how long a connection that cannot be written to is read.
	readTime = time.Second

	// patientTime is how long a frame that is of no use to the peer by itself
	// waits for the one that is. The host opens a stream for a request that
	// follows; the agent's acknowledgement of it is followed by the answer, which
	// says that a command has started, and many commands end soon after that. Each
	// write that is saved is a packet, a VM exit and a wake-up of the peer, and a
	// timer that does not fire is cheaper than one that does.
	patientTime = 5 * time.Millisecond

	// endTime is patientTime for the end of a stream. The exit usually follows the end
	// of a process's output. Nothing has to follow the end of a forwarded connection.
	endTime = time.Millisecond

	// maxSmall bounds what waits for a peer that does not read, in bytes. It is
	// several frames for each of the streams that a peer may have as a rule; what
	// exceeds it is a flood of frames that must be answered.
	maxSmall = 8 * DefaultStreams * headerSize

	// joinedBody is the longest body that is copied behind its header, or put
	// down, rather than written from where it is.
	joinedBody = 4 << 10
)

var (
	errWriterStopped = errors.New("writer stopped")
	errFlood         = errors.New("the peer does not read its replies")
)

// An frameWriter writes frames to the connection, each with its body by one call. A
// stream's writer writes its own, without a goroutine in between, and waits its
// turn while another does; a short one is put down for that one's turn to end.
// Frames without a body never wait: they are put down, and go out with the next
// frame that has one, or by a goroutine of the frameWriter's own. So nothing but
// Stream.Write is held up by a peer that does not read.
//
// A write that has succeeded may yet be lost, as with any socket. A connection
// that cannot be written to may still have something to read, the peer's reason
// for closing it: so it is read for readTime more.
type frameWriter struct {
	conn    io.ReadWriteCloser
	vectors io.Writer // conn, or the connection below it, if that can writev(2); else nil
	patient frameFlags

	wake chan struct{} // has a token when small is to be written
	done chan struct{} // closed when run has returned

	// Of whoever has the turn.
	two     [2][]byte
	buffers net.Buffers

	mu     sync.Mutex
	change *sync.Cond      // broadcast when a turn ends
	small  []byte          // frames without a body
	spare  []byte          // the next small
	hurry  bool            // small must not wait for company any longer
	armed  bool            // timer will see to that
	timer  *time.Timer     // of patientTime or endTime
	taken  bool            // somebody has the turn
	queue  []chan struct{} // who waits for it; each has room for its token
	broken error           // the connection's
	closed bool
	sent   uint64 // bytes
}

var joinedBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, MaxFrame+1024)
	return &b
}}

// newFrameWriter makes one that begins with the bytes of preface.
func newFrameWriter(conn io.ReadWriteCloser, preface string, patient frameFlags) *frameWriter {
	w := &frameWriter{
		conn: conn, vectors: vectored(conn), patient: patient,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
		small: append(make([]byte, 0, 512), preface...),
	}
	w.change = sync.NewCond(&w.mu)
	w.timer = time.AfterFunc(never, w.outOfPatience)
	go w.run() // stopped by close, or by a failed write; wait waits for it
	return w
}

// An unwrapper is a connection that changes only how another one is read.
type unwrapper interface{ Unwrap() io.ReadWriteCloser }

func vectored(conn io.ReadWriteCloser) io.Writer {
	if u, ok := conn.(unwrapper); ok {
		return vectored(u.Unwrap())
	}
	switch conn.(type) {
	case *net.UnixConn, *net.TCPConn:
		return conn
	default:
		return nil
	}
}

// frame is how many of n bytes the next frame has.
func (w *frameWriter) frame(n int) int {
	switch {
	case n <= MaxFrame:
		return n
	case w.vectors != nil: // not vsock: nothing is cut into packets
		return MaxFrame
	default:
		return packedFrame
	}
}

// write writes a frame with its body, which is no longer used when it returns.
// It blocks while the connection takes no bytes. An urgent one comes before
// those that wait.
func (w *frameWriter) write(h header, body []byte, urgent bool) error {
	if w.putBody(h, body, false) {
		return nil
	}
	head, err := w.takeTurn(urgent)
	if err != nil {
		return err
	}
	n, err := w.emit(h.appendTo(head), body)
	w.endTurn(head, n, err)
	if err != nil {
		return errWriterStopped
	}
	return nil
}

// putBody puts down a frame with a short body if somebody else has the turn: frames
// that gather meanwhile go out together. It puts down a patient one in any case, which
// waits for company. It returns false if it has not put the frame down.
func (w *frameWriter) putBody(h header, body []byte, patient bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.taken && !patient || w.endedLocked() || len(body) > joinedBody || len(w.small) > MaxFrame {
		return false
	}
	w.small = append(h.appendTo(w.small), body...)
	if patient {
		w.armLocked(patientTime)
	} else {
		w.hurry = true
	}
	return true
}

// put puts a frame without a body down. It never blocks.
func (w *frameWriter) put(h header) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.endedLocked() {
		return // it does not matter any more
	}
	w.small = h.appendTo(w.small)
	switch {
	case h.kind == kindGoAway:
		w.armLocked(patientTime)
	case h.kind == kindPing || h.flags&w.patient == 0:
		w.hurry = true
	case h.flags&flagFIN != 0:
		w.armLocked(endTime)
	default:
		w.armLocked(patientTime)
	}
	w.wakeRunLocked()
}

// armLocked bounds how long small waits for company, if nothing does. It is called with mu
// held.
func (w *frameWriter) armLocked(d time.Duration) {
	if !w.armed {
		w.armed = true
		w.timer.Reset(d)
	}
}

// answer is put for what the peer has asked for.
func (w *frameWriter) answer(h header) error {
	w.put(h)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.small) > maxSmall {
		return errFlood
	}
	return nil
}

// wakeRunLocked is called with mu held.
func (w *frameWriter) wakeRunLocked() {
	if !w.hurry || w.taken || len(w.small) == 0 {
		return // whoever has the turn looks again at its end
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *frameWriter) outOfPatience() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = false
	w.hurry = true
	w.wakeRunLocked()
}

// run writes what has been put down and goes with nothing else.
func (w *frameWriter) run() {
	defer close(w.done)
	for range w.wake {
		w.mu.Lock()
		if w.endedLocked() {
			w.mu.Unlock()
			return
		}
		if w.taken || len(w.small) == 0 {
			w.mu.Unlock()
			continue
		}
		w.taken = true
		head := w.takeSmallLocked()
		w.mu.Unlock()
		n, err := w.conn.Write(head)
		w.endTurn(head, int64(n), err)
	}
}

// takeSmallLocked is called with mu held, by whoever has the turn.
func (w *frameWriter) takeSmallLocked() []byte {
	head := w.small
	w.small, w.spare = w.spare[:0], nil
	w.hurry = false
	if w.armed {
		w.armed = false
		w.timer.Stop()
	}
	return head
}

// takeTurn waits for the turn, and returns the frames that go out first. Turns
// come in the order in which they were asked for.
func (w *frameWriter) takeTurn(urgent bool) (head []byte, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.taken && !w.endedLocked() {
		w.awaitTurnLocked(urgent)
		if w.endedLocked() { // the turn may have been handed over just before
			w.taken = false
			w.dismissLocked()
		}
	}
	if w.endedLocked() {
		return nil, errWriterStopped
	}
	w.taken = true
	return w.takeSmallLocked(), nil
}

// awaitTurnLocked is called with mu held, and lets go of it meanwhile.
func (w *frameWriter) awaitTurnLocked(urgent bool) {
	mine := make(chan struct{}, 1)
	w.queue = append(w.queue, mine)
	if urgent {
		copy(w.queue[1:], w.queue)
		w.queue[0] = mine
	}
	w.mu.Unlock()
	<-mine
	w.mu.Lock()
}

// endTurn hands the turn to the next in the queue. head is takeSmall's. n bytes have been
// written, and then err was the result.
func (w *frameWriter) endTurn(head []byte, n int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent += uint64(max(n, 0))
	if cap(head) <= 64<<10 {
		w.spare = head
	}
	if err != nil && w.broken == nil {
		w.broken = err
		// Nobody waits for it: it ends what the peer's end has not ended.
		time.AfterFunc(readTime, func() { _ = w.conn.Close() })
	}
	switch {
	case w.endedLocked():
		w.taken = false
		w.dismissLocked()
	case len(w.queue) > 0:
		w.queue[0] <- struct{}{}
		w.queue = append(w.queue[:0], w.queue[1:]...)
	default:
		w.taken = false
		w.wakeRunLocked()
	}
	w.change.Broadcast()
}

// dismissLocked tells everybody that nothing more is written. It is called with mu held.
func (w *frameWriter) dismissLocked() {
	for _, waiting := range w.queue {
		waiting <- struct{}{}
	}
	w.queue = nil
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// emit writes head and body by one call. The caller has the turn. It returns how many bytes
// were written.
func (w *frameWriter) emit(head, body []byte) (int64, error) {
	switch {
	case len(body) > joinedBody && w.vectors != nil:
		w.two = [2][]byte{head, body}
		w.buffers = w.two[:]
		n, err := w.buffers.WriteTo(w.vectors)
		w.two = [2][]byte{}
		return n, err
	case len(head)+len(body) > cap(head):
		joined := joinedBuffers.Get().(*[]byte)
		*joined = append(append((*joined)[:0], head...), body...)
		n, err := w.conn.Write(*joined)
		joinedBuffers.Put(joined)
		return int64(n), err
	default:
		n, err := w.conn.Write(append(head, body...))
		return int64(n), err
	}
}

// flush waits until everything has been written, the connection has failed, or
// timeout has passed.
func (w *frameWriter) flush(timeout time.Duration) {
	expired := false
	timer := time.AfterFunc(timeout, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		expired = true
		w.change.Broadcast()
	})
	defer timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hurry = true
	w.wakeRunLocked()
	for (len(w.small) > 0 || w.taken) && !w.endedLocked() && !expired {
		w.change.Wait()
	}
}

// endedLocked says whether nothing more is written. It is called with mu held.
func (w *frameWriter) endedLocked() bool { return w.closed || w.broken != nil }

// failure returns why the connection could not be written to, or nil.
func (w *frameWriter) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

// written returns how many bytes have been written.
func (w *frameWriter) written() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent
}

// close closes the connection, which fails a write that is under way. It does
// not flush, and is idempotent.
func (w *frameWriter) close() {
	w.mu.Lock()
	w.closed = true
	w.timer.Stop()
	if !w.taken {
		w.dismissLocked()
	}
	w.change.Broadcast()
	w.mu.Unlock()
	_ = w.conn.Close()
}

// wait waits for the goroutine, after close.
func (w *frameWriter) wait() { <-w.done }
