package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// A Session is one connection with its streams. It is safe for concurrent use.
type Session struct {
	out     *frameWriter
	in      *frameReader
	ledger  *ledger        // agent's side only: of its quota
	window  int            // that each stream begins with on this side
	windows windows        // host's side only
	backlog *acceptBacklog // agent's side only
	ended   chan struct{}  // closed after err has been set

	mu      sync.Mutex
	streams map[uint32]*Stream // open in a direction or both
	last    uint32             // id that was opened last, or on the agent's side first
	over    bool               // no stream is added any more
	closed  bool               // Close has been called
	err     error              // why the connection ended
}

// Client makes conn the host's side of a session and opens its control stream,
// whose frames come before those of other streams. preface is sent before
// anything else. Nothing is sent until something is written, or for a moment.
// The session owns conn; Close of conn must end a Read and a Write that are
// blocked.
func Client(conn io.ReadWriteCloser, preface string) (*Session, *Stream, error) {
	s := newSession(conn, preface, nil)
	s.out.put(header{kind: kindGoAway}) // this side takes no streams
	control, err := s.Open()
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	control.urgent = true
	return s, control, nil
}

// Server is [Quota.Server] with a quota of the session's own.
func Server(conn io.ReadWriteCloser) *Session { return NewQuota(QuotaConfig{}).Server(conn) }

// newSession makes the agent's side of a session, or, without a ledger, the host's.
func newSession(conn io.ReadWriteCloser, preface string, l *ledger) *Session {
	s := &Session{
		in:      newFrameReader(conn),
		ended:   make(chan struct{}),
		streams: make(map[uint32]*Stream),
	}
	s.LimitWindows(DefaultWindows)
	if l == nil {
		s.window, s.out = hostWindow, newFrameWriter(conn, preface, flagSYN)
	} else {
		s.window, s.out = agentWindow, newFrameWriter(conn, preface, flagACK|flagFIN)
		s.ledger, s.backlog, l.session = l, newAcceptBacklog(), s
	}
	go s.receive() // stopped by the end of the connection, which Close brings about; Close waits for it
	return s
}

// receive takes frames until the connection ends. It never waits for anything else.
func (s *Session) receive() {
	for {
		h, err := s.in.header()
		if err == nil {
			err = s.take(h)
		}
		if err != nil {
			s.end(err)
			return
		}
	}
}

// take takes one frame.
func (s *Session) take(h header) error {
	switch h.kind {
	case kindPing:
		if h.flags&flagSYN != 0 {
			return s.out.answer(header{kind: kindPing, flags: flagACK, length: h.length})
		}
		return nil
	case kindGoAway:
		if s.backlog == nil {
			return fmt.Errorf("%w: the agent accepts no new streams", ErrProtocol)
		}
		return nil // the agent's side opens none
	case kindData, kindWindow:
	}
	stream, err := s.find(h)
	switch {
	case err != nil:
		return err
	case stream == nil && h.kind == kindData: // of one that has ended here
		return s.in.skip(int(h.length))
	case stream == nil:
		return nil
	case h.kind == kindData && stream.direct != nil:
		err = stream.pour(s.in, int(h.length))
	case h.kind == kindData:
		err = stream.receive(s.in, int(h.length))
	default:
		err = stream.grow(h.length)
	}
	if err != nil {
		return err
	}
	switch {
	case h.flags&flagRST != 0:
		s.forget(h.stream)
		stream.lose(true)
		if s.backlog != nil {
			s.backlog.take(h.stream) // it does not count any more, and so must not wait
		}
	case h.flags&flagFIN != 0 && stream.finish():
		s.forget(h.stream)
	}
	return nil
}

// find returns the stream that a frame is for, or nil.
func (s *Session) find(h header) (*Stream, error) {
	if h.flags&flagSYN != 0 {
		return s.admit(h.stream)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[h.stream], nil
}

// admit takes a stream that the peer opens. The agent's side takes the host's,
// whose ids are odd; the host's side takes none.
func (s *Session) admit(id uint32) (*Stream, error) {
	if s.backlog == nil {
		return nil, s.out.answer(header{kind: kindWindow, flags: flagRST, stream: id})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case id%2 == 0 || s.streams[id] != nil:
		return nil, fmt.Errorf("%w: stream id %d is even or in use", ErrProtocol, id)
	case s.over:
		return nil, nil
	}
	stream := newStream(s, id)
	if s.last == 0 { // the control stream
		s.last, stream.urgent = id, true
	}
	var err error
	if stream.refused, err = s.ledger.open(); err != nil {
		return nil, err
	}
	s.streams[id] = stream
	// The acknowledgement first: whoever claims the stream may write at once.
	err = s.out.answer(header{kind: kindWindow, flags: flagACK, stream: id, length: uint32(s.window - initialWindow)})
	s.backlog.put(stream)
	if stream.refused {
		go stream.Discard() // ends at once; Claim says why
	}
	return stream, err
}

// forget lets go of a stream that has ended in both directions.
func (s *Session) forget(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stream, ok := s.streams[id]
	delete(s.streams, id)
	switch {
	case !ok:
	case s.ledger != nil:
		s.ledger.close(stream.refused)
	default:
		s.windows.granted.Add(-int64(s.window))
	}
}

// fail ends the session for a reason of this side's.
func (s *Session) fail(reason error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = reason
	}
	s.mu.Unlock()
	s.shut()
}

// shut closes the connection.
func (s *Session) shut() {
	if s.ledger != nil {
		s.ledger.stop()
	}
	s.out.close()
}

// end records why the connection ended, and ends everything that waits for it.
func (s *Session) end(cause error) {
	failure := s.out.failure()
	s.mu.Lock()
	if s.err == nil {
		s.err = s.translateLocked(cause, failure)
	}
	s.over = true
	streams := s.streams
	s.streams = nil
	if s.ledger != nil {
		s.ledger.end()
	}
	s.mu.Unlock()
	s.shut()
	close(s.ended)
	if s.backlog != nil {
		s.backlog.close()
	}
	for _, stream := range streams {
		stream.lose(false)
	}
}

// translateLocked translates the connection's error into this package's. The reason
// that the peer gave by ending the connection comes before the error of a write that
// failed for it. It is called with mu held.
func (s *Session) translateLocked(cause, writeFailure error) error {
	switch {
	case s.closed:
		return ErrClosed
	case !errors.Is(cause, io.EOF) && !errors.Is(cause, net.ErrClosed) && !errors.Is(cause, io.ErrClosedPipe):
		return cause
	case writeFailure != nil:
		return writeFailure
	default:
		return io.EOF
	}
}

// Open opens a stream on the host's side. The peer learns of it with the next frame
// that has a body. Open never blocks.
func (s *Session) Open() (*Stream, error) { return s.open(nil) }

func (s *Session) open(direct io.Writer) (*Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
		return nil, fmt.Errorf("open stream: %w", s.lostLocked())
	case s.backlog != nil:
		return nil, fmt.Errorf("open stream: %w: only the host opens streams", ErrProtocol)
	case s.last > 1<<32-3:
		return nil, errors.New("open stream: stream ids exhausted")
	}
	if s.last == 0 {
		s.last = 1
	} else {
		s.last += 2
	}
	stream := newStream(s, s.last)
	stream.direct = direct
	s.windows.granted.Add(int64(s.window))
	s.streams[s.last] = stream
	s.out.put(header{kind: kindWindow, flags: flagSYN, stream: s.last, length: uint32(s.window - initialWindow)})
	return stream, nil
}

// Control waits for the control stream, which is the first one that the host
// opens. Its frames come before those of other streams.
func (s *Session) Control(ctx context.Context) (*Stream, error) {
	select {
	case stream := <-s.backlog.first:
		return stream, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the control stream: %w", ctx.Err())
	case <-s.ended:
		return nil, fmt.Errorf("wait for the control stream: %w", s.lost())
	}
}

// Take is a Claim that does not wait: it returns nil, and no error, if the stream is
// not there.
func (s *Session) Take(id uint32) (*Stream, error) {
	stream := s.backlog.take(id)
	if stream == nil {
		return nil, nil
	}
	return usable(id, stream)
}

func usable(id uint32, stream *Stream) (*Stream, error) {
	if err := stream.unusable(); err != nil {
		return nil, fmt.Errorf("claim stream %d: %w", id, err)
	}
	return stream, nil
}

// Claim returns the stream that the host has opened under id, and makes the caller its
// owner. The host opens a stream before it names it, but the receiving goroutine may be
// behind: Claim waits for the stream, for at most [ClaimTimeout]. Then it returns an
// error that wraps [ErrNoStream]: the host never opened the stream, or it has been
// claimed already, or nobody claimed it in time. (Time passes only while the reader of
// the control stream waits for more: a request that names the stream may have come, and
// not been read.) A stream beyond a limit gives [ErrTooManyStreams], one that has lost
// input [ErrInput]; it has been discarded.
func (s *Session) Claim(id uint32) (*Stream, error) {
	stream, err := s.backlog.claim(id, s.ended)
	if err != nil {
		return nil, fmt.Errorf("claim stream %d: %w", id, err)
	}
	return usable(id, stream)
}

// Disclaim says that nobody will claim stream id. The stream is discarded now, or, if
// it has not come yet, when [ClaimTimeout] has passed after it came. Disclaim does not
// block.
func (s *Session) Disclaim(id uint32) {
	if stream := s.backlog.take(id); stream != nil {
		stream.Discard()
	}
}

// Reserve counts n bytes of memory that the caller holds for the host, such as a
// request's, as input, until [Session.Release]. If there is no room it returns
// [ErrInput].
func (s *Session) Reserve(n int) error { return s.ledger.reserve(n) }

// Release undoes Reserve.
func (s *Session) Release(n int) { s.ledger.release(n) }

// NumStreams returns how many streams are open, the control stream included.
// A stream counts until both sides have closed it.
func (s *Session) NumStreams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// Heard returns when bytes last came from the peer, and before any have, when
// the session began.
func (s *Session) Heard() time.Time { return began.Add(time.Duration(s.in.heard.Load())) }

// Traffic returns how many bytes of the connection have been read and written, headers
// included. A write counts when it has returned.
func (s *Session) Traffic() (received, sent uint64) {
	return s.in.received.Load(), s.out.written()
}

// Done is closed when the connection has ended.
func (s *Session) Done() <-chan struct{} { return s.ended }

// Err returns nil until Done is closed. Then it returns an error that wraps [ErrLost]
// and the cause: [ErrClosed], io.EOF if the peer closed the connection, the
// connection's error, or the peer's violation of the protocol.
func (s *Session) Err() error {
	select {
	case <-s.ended:
		return s.lost()
	default:
		return nil
	}
}

// Close sends what has been written, for at most [CloseTimeout], closes the
// connection and waits for the session's goroutines. Every operation on the
// session and its streams then fails, but for reading what has been received.
// Close is idempotent.
func (s *Session) Close() error {
	s.out.flush(CloseTimeout)
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.shut()
	<-s.ended
	s.out.wait()
	return nil
}

// Abort ends the connection at once, under whatever the session's goroutines are
// doing. It does not wait for them.
func (s *Session) Abort() { s.shut() }

// lost waits for the session's end, which is near, and makes the error of an
// operation that failed for it.
func (s *Session) lost() error {
	<-s.ended
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lostLocked()
}

func (s *Session) lostLocked() error { return fmt.Errorf("%w: %w", ErrLost, s.err) }
