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
	errOutletEnded = errors.New("writer stopped")
	errFlood       = errors.New("the peer does not read its replies")
)

// An outlet writes frames to the connection, each with its body by one call. A
// stream's writer writes its own, without a goroutine in between, and waits its
// turn while another does; a short one is put down for that one's turn to end.
// Frames without a body never wait: they are put down, and go out with the next
// frame that has one, or by a goroutine of the outlet's own. So nothing but
// Stream.Write is held up by a peer that does not read.
//
// A write that has succeeded may yet be lost, as with any socket. A connection
// that cannot be written to may still have something to read, the peer's reason
// for closing it: so it is read for readTime more.
type outlet struct {
	conn    io.ReadWriteCloser
	vectors io.Writer // conn, or what is below it, where it can writev(2); else nil
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

// newOutlet makes one that begins with the bytes of preface.
func newOutlet(conn io.ReadWriteCloser, preface string, patient frameFlags) *outlet {
	o := &outlet{
		conn: conn, vectors: vectored(conn), patient: patient,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
		small: append(make([]byte, 0, 512), preface...),
	}
	o.change = sync.NewCond(&o.mu)
	o.timer = time.AfterFunc(never, o.outOfPatience)
	go o.run() // stopped by close, or by a failed write; wait waits for it
	return o
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
func (o *outlet) frame(n int) int {
	switch {
	case n <= MaxFrame:
		return n
	case o.vectors != nil: // not vsock: nothing is cut into packets
		return MaxFrame
	default:
		return packedFrame
	}
}

// write writes a frame with its body, which is no longer used when it returns.
// It blocks while the connection takes no bytes. An urgent one comes before
// those that wait.
func (o *outlet) write(h header, body []byte, urgent bool) error {
	if o.putBody(h, body, false) {
		return nil
	}
	head, err := o.takeTurn(urgent)
	if err != nil {
		return err
	}
	n, err := o.emit(h.appendTo(head), body)
	o.endTurn(head, n, err)
	if err != nil {
		return errOutletEnded
	}
	return nil
}

// putBody puts a frame with a short body down, where somebody else has the turn:
// what gathers meanwhile goes out together. A patient one is put down in any case,
// and waits for company.
func (o *outlet) putBody(h header, body []byte, patient bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.taken && !patient || o.ended() || len(body) > joinedBody || len(o.small) > MaxFrame {
		return false
	}
	o.small = append(h.appendTo(o.small), body...)
	if patient {
		o.arm(patientTime)
	} else {
		o.hurry = true
	}
	return true
}

// put puts a frame without a body down. It never blocks.
func (o *outlet) put(h header) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended() {
		return // it does not matter any more
	}
	o.small = h.appendTo(o.small)
	switch {
	case h.kind == kindGoAway:
		o.arm(patientTime)
	case h.kind == kindPing || h.flags&o.patient == 0:
		o.hurry = true
	case h.flags&flagFIN != 0:
		o.arm(endTime)
	default:
		o.arm(patientTime)
	}
	o.wakeRun()
}

// arm bounds how long small waits for company, if nothing does. It is called with mu
// held.
func (o *outlet) arm(d time.Duration) {
	if !o.armed {
		o.armed = true
		o.timer.Reset(d)
	}
}

// answer is put for what the peer has asked for.
func (o *outlet) answer(h header) error {
	o.put(h)
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.small) > maxSmall {
		return errFlood
	}
	return nil
}

// wakeRun is called with mu held.
func (o *outlet) wakeRun() {
	if !o.hurry || o.taken || len(o.small) == 0 {
		return // whoever has the turn looks again at its end
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outlet) outOfPatience() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.armed = false
	o.hurry = true
	o.wakeRun()
}

// run writes what has been put down and goes with nothing else.
func (o *outlet) run() {
	defer close(o.done)
	for range o.wake {
		o.mu.Lock()
		if o.ended() {
			o.mu.Unlock()
			return
		}
		if o.taken || len(o.small) == 0 {
			o.mu.Unlock()
			continue
		}
		o.taken = true
		head := o.takeSmall()
		o.mu.Unlock()
		n, err := o.conn.Write(head)
		o.endTurn(head, int64(n), err)
	}
}

// takeSmall is called with mu held, by whoever has the turn.
func (o *outlet) takeSmall() []byte {
	head := o.small
	o.small, o.spare = o.spare[:0], nil
	o.hurry = false
	if o.armed {
		o.armed = false
		o.timer.Stop()
	}
	return head
}

// takeTurn waits for the turn, and returns the frames that go out first. Turns
// come in the order in which they were asked for.
func (o *outlet) takeTurn(urgent bool) (head []byte, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.taken && !o.ended() {
		o.awaitTurn(urgent)
		if o.ended() { // the turn may have been handed over just before
			o.taken = false
			o.dismiss()
		}
	}
	if o.ended() {
		return nil, errOutletEnded
	}
	o.taken = true
	return o.takeSmall(), nil
}

// awaitTurn is called with mu held, and lets go of it meanwhile.
func (o *outlet) awaitTurn(urgent bool) {
	mine := make(chan struct{}, 1)
	o.queue = append(o.queue, mine)
	if urgent {
		copy(o.queue[1:], o.queue)
		o.queue[0] = mine
	}
	o.mu.Unlock()
	<-mine
	o.mu.Lock()
}

// endTurn hands the turn to the next in the queue. head is takeSmall's. n bytes have been
// written, and then err was the result.
func (o *outlet) endTurn(head []byte, n int64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent += uint64(max(n, 0))
	if cap(head) <= 64<<10 {
		o.spare = head
	}
	if err != nil && o.broken == nil {
		o.broken = err
		// Nobody waits for it: it ends what the peer's end has not ended.
		time.AfterFunc(readTime, func() { _ = o.conn.Close() })
	}
	switch {
	case o.ended():
		o.taken = false
		o.dismiss()
	case len(o.queue) > 0:
		o.queue[0] <- struct{}{}
		o.queue = append(o.queue[:0], o.queue[1:]...)
	default:
		o.taken = false
		o.wakeRun()
	}
	o.change.Broadcast()
}

// dismiss tells everybody that nothing more is written. It is called with mu held.
func (o *outlet) dismiss() {
	for _, waiting := range o.queue {
		waiting <- struct{}{}
	}
	o.queue = nil
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// emit writes head and body by one call. The caller has the turn. It returns how many bytes
// were written.
func (o *outlet) emit(head, body []byte) (int64, error) {
	switch {
	case len(body) > joinedBody && o.vectors != nil:
		o.two = [2][]byte{head, body}
		o.buffers = o.two[:]
		n, err := o.buffers.WriteTo(o.vectors)
		o.two = [2][]byte{}
		return n, err
	case len(head)+len(body) > cap(head):
		joined := joinedBuffers.Get().(*[]byte)
		*joined = append(append((*joined)[:0], head...), body...)
		n, err := o.conn.Write(*joined)
		joinedBuffers.Put(joined)
		return int64(n), err
	default:
		n, err := o.conn.Write(append(head, body...))
		return int64(n), err
	}
}

// flush waits until everything has been written, the connection has failed, or
// timeout has passed.
func (o *outlet) flush(timeout time.Duration) {
	expired := false
	timer := time.AfterFunc(timeout, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		expired = true
		o.change.Broadcast()
	})
	defer timer.Stop()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hurry = true
	o.wakeRun()
	for (len(o.small) > 0 || o.taken) && !o.ended() && !expired {
		o.change.Wait()
	}
}

// ended says whether nothing more is written. It is called with mu held.
func (o *outlet) ended() bool { return o.closed || o.broken != nil }

// failure returns why the connection could not be written to, or nil.
func (o *outlet) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.broken
}

// written returns how many bytes have been written.
func (o *outlet) written() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sent
}

// close closes the connection, which fails a write that is under way. It does
// not flush, and is idempotent.
func (o *outlet) close() {
	o.mu.Lock()
	o.closed = true
	o.timer.Stop()
	if !o.taken {
		o.dismiss()
	}
	o.change.Broadcast()
	o.mu.Unlock()
	_ = o.conn.Close()
}

// wait waits for the goroutine, after close.
func (o *outlet) wait() { <-o.done }
