package session

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/local"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A forwarding is one forward, from its request to the end of both directions.
//
//	connecting → open → ended
//	connecting → refused
type forwarding struct {
	conn *conn
	req  *wire.Forward
	to   local.Address

	about   aboutForward
	begun   time.Time
	dialing context.Context // ends with terminate
	hangUp  context.CancelFunc

	refusal error // why the stream cannot be had, or nil

	reason atomic.Pointer[wire.Reason] // why it was terminated first; nil: it was not

	mu      sync.Mutex
	stream  *mux.Stream // nil: it has not come yet
	service *local.Conn // nil: it has not been made
}

// forward begins a forwarding. Its goroutines are stopped by the end of both
// directions, or by the connection's end, and waited for by conn.end.
func (c *conn) forward(m *wire.Forward, to local.Address) error {
	if err := c.beginForward(m, to); err != nil {
		return c.reject(m, err)
	}
	return nil
}

func forwardShare(c *conn) share { return share{class: c.peer.Class, forward: true} }

func (c *conn) beginForward(m *wire.Forward, to local.Address) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return errShutdown
	}
	if err := c.server.shares.take(len(c.execs), forwardShare(c)); err != nil {
		return err
	}
	f := &forwarding{conn: c, req: m, to: to, about: describeForward(m), begun: time.Now()}
	f.dialing, f.hangUp = context.WithCancel(context.Background())
	f.take()
	c.execs[m.ID] = f
	c.running.Add(1)
	go f.run()
	return nil
}

// run is the forwarding's goroutine. The rest of it is another's if the log takes
// its record too slowly.
func (f *forwarding) run() {
	recorded := f.conn.server.recording()
	f.about.add(f.conn.audit.Info()).Msg("forward requested")
	if settled, err := recorded(f.proceed); settled {
		f.proceed(err)
	}
}

// proceed is what follows once the forwarding has its record, or an error.
func (f *forwarding) proceed(err error) {
	defer f.conn.running.Done()
	defer f.hangUp()
	if err == nil {
		err = f.connect()
	}
	if err != nil {
		f.refuse(err)
		return
	}
	f.about.add(f.conn.audit.Info()).Msg("forward started")
	f.conn.send(&wire.Started{Head: wire.Head{ID: f.req.ID}})
	f.report(f.follow())
}

// take takes over the stream, if it is there, before the next request is read.
func (f *forwarding) take() {
	f.stream, f.refusal = f.conn.mux.Take(f.req.Stream)
	f.own(f.stream)
}

// claim waits for it where it is not.
func (f *forwarding) claim() error {
	if f.refusal != nil || f.stream != nil {
		return f.refusal
	}
	stream, err := f.conn.mux.Claim(f.req.Stream)
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.stream = stream
	f.mu.Unlock()
	f.own(stream)
	return nil
}

// own has a stream that loses what it holds end the forwarding.
func (f *forwarding) own(s *mux.Stream) {
	if s != nil {
		s.OnOverrun(func() { f.terminate(wire.ReasonLimit, 0) })
	}
}

// connect makes the connection to the service.
func (f *forwarding) connect() error {
	if err := f.claim(); err != nil {
		return err
	}
	service, err := f.conn.server.dial(f.dialing, f.to)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dialing.Err() != nil { // terminate has found no service to stop
		if service != nil {
			service.Close()
		}
		return beforeStart(*f.reason.Load())
	}
	f.service = service
	return err
}

// dial makes a connection as the policy's user, to what is not the agent itself.
func (s *Server) dial(ctx context.Context, to local.Address) (*local.Conn, error) {
	d := local.Dialer{Refused: s.OwnSocket}
	if user := s.Policy.User; user != "" {
		identity, err := s.Spawner.Identity(user)
		if err != nil {
			return nil, err
		}
		d.As = &local.User{UID: identity.UID, GID: identity.GID, Groups: identity.Groups}
	}
	return d.Dial(ctx, to)
}

// refuse answers for a forward without a connection.
func (f *forwarding) refuse(err error) {
	f.conn.refused(err, wire.TypeForward, f.about)
	f.conn.forget(f.req.ID, forwardShare(f.conn))
	f.conn.send(failure(f.req.ID, kindOf(err), err.Error()))
	if f.stream != nil {
		f.stream.Discard()
	}
	f.conn.discard(f.req.Stream) // where it was not claimed
}

// A forwarded is what has become of one direction.
type forwarded struct {
	bytes int64
	err   error // nil: it has ended by its sender's end
}

// follow moves the bytes until both directions have ended.
func (f *forwarding) follow() (in, out forwarded) {
	var feeding sync.WaitGroup
	feeding.Go(func() { // stopped by the host's end of the stream, terminate, or the connection's end
		if in.bytes, in.err = f.service.CopyFrom(f.stream); in.err != nil {
			f.service.Close() // which is silent, perhaps, and would not find out
		}
	})
	out.bytes, out.err = f.service.CopyTo(f.stream)
	switch {
	case out.err == nil:
		_ = f.stream.Close()
	case errors.Is(out.err, local.ErrBroken): // in both directions
		f.stream.SetReadDeadline(time.Unix(1, 0))
		f.service.Close()
	}
	feeding.Wait()
	f.service.Close()
	return in, out
}

// report tells the log and the host how it ended. The stream ends after that,
// where it has not: the end of what a host reads is a clean one.
func (f *forwarding) report(in, out forwarded) {
	answer, outcome := wire.Message(&wire.Done{Head: wire.Head{ID: f.req.ID}}), "ended"
	if err := f.broken(in, out); err != nil {
		answer, outcome = failure(f.req.ID, kindOf(err), err.Error()), err.Error()
	} else if in.err != nil || out.err != nil {
		outcome = "closed by the host"
	}
	f.about.add(f.conn.audit.Info()).Str("outcome", outcome).
		Int64("in_bytes", in.bytes).Int64("out_bytes", out.bytes).
		Dur("duration_ms", time.Since(f.begun)).Msg("forward ended")
	f.conn.forget(f.req.ID, forwardShare(f.conn))
	f.conn.send(answer)
	f.stream.Reset()
}

// broken returns what has ended a forwarding before its time, other than the host.
func (f *forwarding) broken(in, out forwarded) error {
	reason := f.reason.Load()
	switch {
	case in.err == nil && out.err == nil:
		return nil
	case reason != nil && *reason == wire.ReasonShutdown:
		return errShutdown
	case errors.Is(in.err, os.ErrClosed), reason != nil && *reason == wire.ReasonLimit:
		return mux.ErrInput // which the stream may say before its owner has heard of it
	case reason == nil && errors.Is(out.err, local.ErrBroken) && !errors.Is(in.err, mux.ErrLost):
		return out.err
	default:
		return nil
	}
}

// check takes the lock that a request needs. It says whether there is a connection.
func (f *forwarding) check() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.service != nil
}

// terminate ends both directions. What the host has sent the service still gets,
// as long as it takes some of it each grace, or at a shutdown until grace has
// passed. It does not wait.
func (f *forwarding) terminate(reason wire.Reason, grace time.Duration) {
	f.reason.CompareAndSwap(nil, &reason)
	f.hangUp()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.service == nil {
		return // connect finds that it is over
	}
	f.stream.SetReadDeadline(time.Unix(1, 0)) // what has come is read
	f.stream.SetWriteDeadline(time.Unix(1, 0))
	switch {
	case grace == 0:
		f.service.Close()
	case reason == wire.ReasonShutdown:
		f.service.StopBy(grace)
	default:
		f.service.Stop(grace)
	}
}

// disconnected ends what the host has not seen the end of.
func (f *forwarding) disconnected() { f.terminate(wire.ReasonKilled, DefaultGrace) }
