package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// A Session is one connection with its streams. It is safe for concurrent use.
type Session struct {
	yamux *yamux.Session
	out   *writer
	inbox *inbox        // agent's side only
	quota *ledger       // likewise: this session's part of it
	ended chan struct{} // closed after err has been set

	mu     sync.Mutex
	closed bool  // Close has been called
	err    error // why the connection ended
}

// Client makes conn the host's side of a session and opens its control stream.
// It blocks for as long as conn does not take the first few bytes. The session
// owns conn, and closes it on failure too.
func Client(conn io.ReadWriteCloser) (*Session, *Stream, error) {
	s, err := newSession(conn, yamux.Client, hostWindow, nil)
	if err != nil {
		return nil, nil, err
	}
	go s.refuse()
	// Nothing is read before yamux knows that it takes no streams.
	if err := s.yamux.GoAway(); err != nil {
		return nil, nil, s.abandon(fmt.Errorf("refuse the peer's streams: %w", s.lost(err)))
	}
	s.out.allowReads()
	control, err := s.Open()
	if err != nil {
		return nil, nil, s.abandon(err)
	}
	return s, control, nil
}

// Server is [Quota.Server] with a quota of the session's own.
func Server(conn io.ReadWriteCloser) (*Session, error) { return NewQuota(Limits{}).Server(conn) }

func newSession(
	conn io.ReadWriteCloser,
	side func(io.ReadWriteCloser, *yamux.Config) (*yamux.Session, error),
	window uint32,
	quota *ledger, // nil on the host's side
) (*Session, error) {
	out := newWriter(conn)
	if quota != nil {
		out.intake = &intake{ledger: quota}
	}
	y, err := side(out, config(window))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start yamux: %w", err), out.Close())
	}
	return &Session{yamux: y, out: out, quota: quota, ended: make(chan struct{})}, nil
}

func (s *Session) abandon(err error) error {
	return errors.Join(err, s.Close())
}

// refuse waits for the end of a host's session. No stream is ever accepted:
// yamux resets what a peer opens after GoAway. The session's end stops it.
func (s *Session) refuse() {
	for {
		stream, err := s.yamux.AcceptStream()
		if err != nil {
			s.end(err)
			return
		}
		_ = stream.Close()
	}
}

// accept takes the host's streams off yamux's queue: the first one is the
// control stream, the others wait to be claimed. The session's end stops it.
func (s *Session) accept() {
	for {
		y, err := s.yamux.AcceptStream()
		if err != nil {
			s.end(err)
			return
		}
		stream := newStream(s, y)
		s.quota.accepted(stream)
		if stream.account.isRefused() {
			stream.Discard() // Claim says why
		}
		s.inbox.put(stream)
	}
}

// fail ends the session for a reason of this side's.
func (s *Session) fail(reason error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = reason
	}
	s.mu.Unlock()
	_ = s.yamux.Close()
}

// end records why the connection ended, and closes everything that waits for it.
func (s *Session) end(cause error) {
	failure := s.out.failure()
	s.mu.Lock()
	if s.out.intake != nil && s.err == nil {
		s.err = s.out.intake.failure() // yamux may have forgotten it
	}
	if s.err == nil {
		s.err = s.translate(cause, failure)
	}
	s.mu.Unlock()
	_ = s.yamux.Close()
	if s.inbox != nil {
		s.inbox.close()
	}
	close(s.ended)
	if s.quota != nil {
		s.quota.end()
	}
}

// translate is where yamux's errors about the whole session become this
// package's. What the peer said by ending the connection comes before what a
// write made of that. It is called with mu held.
func (s *Session) translate(cause, writeFailure error) error {
	switch {
	case s.closed:
		return ErrClosed
	case !errors.Is(cause, io.EOF) && !errors.Is(cause, net.ErrClosed) && !errors.Is(cause, yamux.ErrSessionShutdown):
		return cause
	case writeFailure != nil:
		return writeFailure
	default:
		return io.EOF
	}
}

// Open opens a stream. It does not wait for the peer, but it blocks while the
// connection takes no bytes, until the session ends.
func (s *Session) Open() (*Stream, error) {
	y, err := s.yamux.OpenStream()
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", s.lost(err))
	}
	return newStream(s, y), nil
}

// Control waits for the control stream, which is the first one that the host opens.
func (s *Session) Control(ctx context.Context) (*Stream, error) {
	select {
	case stream := <-s.inbox.first:
		return stream, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the control stream: %w", ctx.Err())
	case <-s.ended:
		return nil, fmt.Errorf("wait for the control stream: %w", s.lost(nil))
	}
}

// Claim returns the stream that the host has opened under id, whose owner is
// then the caller. The host opens a stream before it names it, but the accept
// loop may be behind: Claim waits for it, for at most [ClaimTimeout], and then
// returns an error that wraps [ErrNoStream]: the host never opened it, or it
// has been claimed already, or nobody claimed it in time. A stream beyond a limit
// gives [ErrTooManyStreams], one that has lost input [ErrInput]; it has been
// discarded.
func (s *Session) Claim(id uint32) (*Stream, error) {
	stream, err := s.inbox.claim(id, s.ended)
	switch {
	case err != nil:
	case stream.account.isRefused():
		err = ErrTooManyStreams
	case stream.overran.Load():
		err = ErrInput
	default:
		return stream, nil
	}
	return nil, fmt.Errorf("claim stream %d: %w", id, err)
}

// Disclaim says that nobody will claim stream id: it is discarded now, or where
// it has not come yet, when it would be anyway. It does not block.
func (s *Session) Disclaim(id uint32) { s.inbox.hasten(id) }

// Reserve counts n bytes of memory that the caller holds for the host, such as
// a request's, as input, until [Session.Release]. Where there is no room it
// returns [ErrInput].
func (s *Session) Reserve(n int) error { return s.quota.reserve(n) }

// Release undoes Reserve.
func (s *Session) Release(n int) { s.quota.release(n) }

// NumStreams returns how many streams are open, the control stream included.
// A stream counts until both sides have closed it.
func (s *Session) NumStreams() int { return s.yamux.NumStreams() }

// Heard returns when bytes last came from the peer, and before any have, when
// the session began.
func (s *Session) Heard() time.Time { return began.Add(time.Duration(s.out.heard.Load())) }

// Done is closed when the connection has ended.
func (s *Session) Done() <-chan struct{} { return s.ended }

// Err returns nil until Done is closed. Then it returns an error that wraps
// [ErrLost] and the cause: [ErrClosed], io.EOF where the peer closed the
// connection, or what the connection or yamux said.
func (s *Session) Err() error {
	select {
	case <-s.ended:
		return s.lost(nil)
	default:
		return nil
	}
}

// Close sends what has been written, for at most [CloseTimeout], closes the
// connection and waits for the session's goroutines. Every operation on the
// session and its streams then fails. Close is idempotent.
func (s *Session) Close() error {
	s.out.flush(CloseTimeout)
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	_ = s.yamux.Close() // always nil in v0.1.2
	<-s.ended
	s.out.wait()
	return nil
}

// lost makes the error of an operation that failed because the connection
// ended. Where it has not ended, err is the operation's own failure.
func (s *Session) lost(err error) error {
	if !s.yamux.IsClosed() && !errors.Is(err, yamux.ErrSessionShutdown) {
		return err
	}
	<-s.ended
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Errorf("%w: %w", ErrLost, s.err)
}
