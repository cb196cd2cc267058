package session

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/local"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A forwarding is one forward or accept, from its request to the end of both directions.
//
//	connecting → open → ended
//	connecting → refused
type forwarding struct {
	task
	to   local.Address
	from *listening // of an accept, instead of to; nil: it is a forward

	label   aboutForward
	begun   time.Time
	dialing context.Context // ends with terminate
	hangUp  context.CancelFunc

	reason  atomic.Pointer[job.Reason] // why it was terminated first; nil: it was not
	claimed [1]claim

	mu      sync.Mutex
	service *local.Conn // nil: it has not been made
}

// forward begins a forwarding, which ends with both directions, or with the connection.
func (c *conn) forward(m *wire.Forward, to local.Address) error {
	return c.beginForwarding(m, &forwarding{to: to, label: describeForward(m)}, m.ID, m.Stream)
}

func (c *conn) beginForwarding(m wire.Message, f *forwarding, id uint64, stream uint32) error {
	verb, _ := wire.About(m)
	f.begun, f.claimed = time.Now(), [1]claim{{id: stream}}
	f.task = task{
		caller: c.caller, server: c.server, id: id, verb: verb, about: &f.label,
		share: share{class: c.peer.Class, forward: true}, streams: f.claimed[:],
	}
	f.dialing, f.hangUp = context.WithCancel(context.Background())
	if err := c.begin(f); err != nil {
		f.hangUp()
		return c.reject(m, err)
	}
	return nil
}

func (f *forwarding) command() *job.Job { return nil }

// requested leaves no record of an accept: hosts have some that wait for a connection.
func (f *forwarding) requested() {
	if f.from == nil {
		f.label.add(f.audit.Info()).Msg("forward requested")
	}
}

func (f *forwarding) proceed(err error) {
	defer f.hangUp()
	if err == nil {
		err = f.connect()
	}
	if err != nil {
		f.server.forwards.failed.Add(1)
		f.refuse(err)
		return
	}
	f.label.add(f.audit.Info()).Msg(string(f.verb) + " started")
	f.server.forwards.started.Add(1)
	defer f.server.forwards.ended.Add(1)
	f.send(&wire.Started{Head: wire.Head{ID: f.id}, Address: f.label.client})
	f.report(f.follow())
}

func (f *forwarding) stream() *mux.Stream { return f.claimed[0].stream }

// connect makes the connection to the service.
func (f *forwarding) connect() error {
	service, err := f.reach()
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

// reach returns a connection to the service, or from the client of an accept.
func (f *forwarding) reach() (*local.Conn, error) {
	if f.from == nil {
		return f.server.dial(f.dialing, f.to)
	}
	nc, err := f.from.next(f.dialing)
	if err != nil {
		return nil, err
	}
	f.label.client, f.begun = nc.RemoteAddr().String(), time.Now()
	return local.Accepted(nc)
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

// A forwarded is what has become of one direction.
type forwarded struct {
	bytes int64
	err   error // nil: it has ended by its sender's end
}

// follow moves the bytes until both directions have ended.
func (f *forwarding) follow() (in, out forwarded) {
	var feeding sync.WaitGroup
	feeding.Go(func() { // stopped by the host's end of the stream, terminate, or the connection's end
		if in.bytes, in.err = f.service.CopyFrom(f.stream()); in.err != nil {
			f.service.Close() // which is silent, perhaps, and would not find out
		}
	})
	out.bytes, out.err = f.service.CopyTo(f.stream())
	switch {
	case out.err == nil:
		_ = f.stream().Close()
	case errors.Is(out.err, local.ErrBroken): // in both directions
		f.stream().SetReadDeadline(time.Unix(1, 0))
		f.service.Close()
	}
	feeding.Wait()
	f.service.Close()
	return in, out
}

// report tells the log and the host how it ended. If the stream has not ended by then,
// it ends afterwards: the end of what a host reads is a clean one.
func (f *forwarding) report(in, out forwarded) {
	answer, outcome := wire.Message(&wire.Done{Head: wire.Head{ID: f.id}}), "ended"
	if err := f.broken(in, out); err != nil {
		answer, outcome = failure(f.id, kindOf(err), err.Error()), err.Error()
	} else if in.err != nil || out.err != nil {
		outcome = "closed by the host"
	}
	f.label.add(f.audit.Info()).Str("outcome", outcome).
		Int64("in_bytes", in.bytes).Int64("out_bytes", out.bytes).
		Dur("duration_ms", time.Since(f.begun)).Msg(string(f.verb) + " ended")
	c := f.answer(answer)
	defer c.release()
	f.stream().Reset()
}

// broken returns what has ended a forwarding before its time, other than the host.
func (f *forwarding) broken(in, out forwarded) error {
	reason := f.reason.Load()
	switch {
	case in.err == nil && out.err == nil:
		return nil
	case reason != nil && *reason == job.Shutdown:
		return errShutdown
	case errors.Is(in.err, os.ErrClosed), reason != nil && *reason == job.Limit:
		return mux.ErrInput // which the stream may say before its owner has heard of it
	case reason == nil && errors.Is(out.err, local.ErrBroken) && !errors.Is(in.err, mux.ErrLost):
		return out.err
	default:
		return nil
	}
}

func (f *forwarding) check() {
	f.mu.Lock()
	defer f.mu.Unlock() //nolint:gocritic // staticcheck rejects an empty critical section
}

func (f *forwarding) overran() { f.terminate(job.Limit, 0) }

// terminate ends both directions, and does not wait. The service still gets what the
// host has sent, as long as it takes some of it each grace. At a shutdown it gets it
// until grace has passed.
func (f *forwarding) terminate(reason job.Reason, grace time.Duration) {
	f.reason.CompareAndSwap(nil, &reason)
	f.hangUp()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.service == nil {
		return // connect finds that it is over
	}
	f.stream().SetReadDeadline(time.Unix(1, 0)) // what has come is read
	f.stream().SetWriteDeadline(time.Unix(1, 0))
	switch {
	case grace == 0:
		f.service.Close()
	case reason == job.Shutdown:
		f.service.StopBy(grace)
	default:
		f.service.Stop(grace)
	}
}

// disconnected ends what the host has not seen the end of.
func (f *forwarding) disconnected() { f.terminate(job.Killed, job.Grace) }

// A forwardCounter counts forwards since the agent started.
type forwardCounter struct{ started, failed, ended atomic.Uint64 }

// A forwardCounts is what it has counted.
type forwardCounts struct{ started, failed, running uint64 }

func (c *forwardCounter) counts() forwardCounts {
	ended := c.ended.Load() // first: it is never more than started
	started := c.started.Load()
	return forwardCounts{started: started, failed: c.failed.Load(), running: started - ended}
}
