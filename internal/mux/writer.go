package mux

import (
	"encoding/binary"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// maxPending is how many bytes of frames may wait for the connection before
// yamux is made to wait. One frame more may come on top. It bounds what a
// message waits for, and is enough to keep the connection busy while the next
// frames are made.
const maxPending = 2 * MaxFrame

// readTime is how long a connection that cannot be written to is read.
const readTime = time.Second

// smallPending is the size of the two buffers that a writer keeps. Larger ones
// are shared by all writers, so that a connection at rest holds little.
const smallPending = 4 << 10

// yamux's header: version, type, flags (2), stream id (4), length (4).
// https://github.com/hashicorp/yamux/blob/master/spec.md
const (
	frameHeader = 12
	frameType   = 1
	frameFlags  = 2
	frameStream = 4
	frameLength = 8
)

// A writer is the connection that yamux writes to. yamux writes a frame's
// header and its body by two calls; on vsock each write is a packet and a VM
// exit. A writer takes frames into a buffer, and one goroutine writes what has
// gathered there whenever the last write is done: the first frame goes out at
// once, and what queues up behind a write goes out together.
//
// So a write that yamux has seen succeed may yet be lost, as with any socket. A
// connection that cannot be written to may still have something to read: the
// peer's reason for closing it. So yamux is not told, and learns of the end by
// reading, for which there is readTime.
type writer struct {
	io.ReadWriteCloser // the connection; the methods below hide its own

	done     chan struct{} // closed when the writing goroutine has returned
	mayRead  chan struct{} // closed when yamux may read
	readOnce sync.Once
	heard    atomic.Int64 // when bytes last came, as since began
	intake   *intake      // nil on the host's side

	mu      sync.Mutex
	change  *sync.Cond // broadcast when a field below changes
	pending []byte     // frames; the last one may lack its body
	spare   []byte     // the next pending, or nil
	body    int        // how many bytes of a body are to come
	busy    bool       // the goroutine is in the connection's Write
	broken  error      // the connection's: what Write takes is dropped
	closed  bool
}

var largePending = sync.Pool{New: func() any {
	b := make([]byte, 0, maxPending+frameHeader+MaxFrame)
	return &b
}}

func newWriter(conn io.ReadWriteCloser) *writer {
	w := &writer{
		ReadWriteCloser: conn,
		done:            make(chan struct{}),
		mayRead:         make(chan struct{}),
		pending:         make([]byte, 0, smallPending),
		spare:           make([]byte, 0, smallPending),
	}
	w.change = sync.NewCond(&w.mu)
	w.heard.Store(int64(time.Since(began)))
	go w.run()
	return w
}

// Read reads from the connection, once allowReads has been called. (yamux reads
// from the moment that it is made.)
func (w *writer) Read(p []byte) (int, error) {
	<-w.mayRead
	n, err := w.ReadWriteCloser.Read(p)
	if n > 0 {
		w.heard.Store(int64(time.Since(began)))
	}
	if w.intake != nil {
		if err := w.intake.scan(p[:n]); err != nil {
			return 0, err
		}
	}
	return n, err
}

// began is an instant of the monotonic clock, which stands still while the host
// is suspended: that is no silence of the peer's.
var began = time.Now()

func (w *writer) allowReads() { w.readOnce.Do(func() { close(w.mayRead) }) }

// Write takes one header or one body. It is called by yamux's sending
// goroutine alone, and blocks while too much is pending.
func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.pending) > maxPending && w.body == 0 && !w.ended() {
		w.change.Wait()
	}
	switch {
	case w.closed:
		return 0, io.ErrClosedPipe
	case w.broken != nil:
		return len(p), nil
	}
	if len(w.pending)+len(p) > cap(w.pending) {
		w.enlarge()
	}
	w.pending = append(w.pending, p...)
	switch {
	case w.body > 0:
		w.body -= len(p)
	case len(p) == frameHeader && p[frameType] == frameIsData:
		w.body = int(binary.BigEndian.Uint32(p[frameLength:]))
	case w.intake != nil:
		w.intake.sent(p)
	}
	if w.body == 0 {
		w.change.Broadcast()
	}
	return len(p), nil
}

func (w *writer) enlarge() {
	small := w.pending
	w.pending = (*largePending.Get().(*[]byte))[:0]
	w.pending = append(w.pending, small...)
	if w.spare == nil {
		w.spare = small[:0]
	}
}

// run writes what is pending. It is stopped by Close or by a failed write.
func (w *writer) run() {
	defer close(w.done)
	for {
		frames := w.next()
		if frames == nil {
			return
		}
		_, err := w.ReadWriteCloser.Write(frames)
		if err != nil {
			w.allowReads()
			// Nobody waits for it: it ends what the peer's end has not ended.
			time.AfterFunc(readTime, func() { _ = w.ReadWriteCloser.Close() })
		}
		w.wrote(frames, err)
	}
}

// next waits for whole frames to write. It returns nil at the end.
func (w *writer) next() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	for (len(w.pending) == 0 || w.body > 0) && !w.ended() {
		w.change.Wait()
	}
	if w.ended() {
		return nil
	}
	frames := w.pending
	w.pending, w.spare = w.spare, nil
	if w.pending == nil {
		w.pending = make([]byte, 0, smallPending)
	}
	w.busy = true
	w.change.Broadcast()
	return frames
}

func (w *writer) wrote(frames []byte, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy = false
	w.broken = err
	frames = frames[:0]
	if cap(frames) > smallPending {
		largePending.Put(&frames)
	} else if w.spare == nil {
		w.spare = frames
	}
	w.change.Broadcast()
}

// flush waits until everything that Write has taken has been written, the
// connection has failed, or timeout has passed.
func (w *writer) flush(timeout time.Duration) {
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
	for (len(w.pending) > 0 || w.busy) && !w.ended() && !expired {
		w.change.Wait()
	}
}

// ended says whether nothing more is written. It is called with mu held.
func (w *writer) ended() bool { return w.closed || w.broken != nil }

// failure returns why the connection could not be written to, or nil.
func (w *writer) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

// Close closes the connection, which fails a write that is under way. It does
// not flush.
func (w *writer) Close() error {
	w.mu.Lock()
	w.closed = true
	w.change.Broadcast()
	w.mu.Unlock()
	defer w.allowReads()
	if w.intake != nil {
		w.intake.ledger.stop()
	}
	return w.ReadWriteCloser.Close()
}

// wait waits for the writing goroutine, after Close.
func (w *writer) wait() { <-w.done }
