package session

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/local"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A listening is one listen, from its request to its end.
//
//	binding → listening → ended
//	binding → refused
type listening struct {
	task
	at local.Address

	label aboutListen
	came  chan net.Conn // has no room: the acceptors wait for an accept

	reason atomic.Pointer[job.Reason] // why it was terminated first; nil: it was not
	over   context.Context            // ends with terminate, and with a listener that fails
	end    context.CancelCauseFunc
}

// aboutListen is the description of a listen.
type aboutListen struct {
	id               uint64
	network, address string
}

func describeListen(m *wire.Listen) aboutListen {
	return aboutListen{id: m.ID, network: clip(m.Network), address: clip(m.Address)}
}

func (a *aboutListen) add(e *zerolog.Event) *zerolog.Event {
	return e.Uint64("listen", a.id).Str("network", a.network).Str("address", a.address)
}

// listen begins a listening, which ends by a kill, or with the connection.
func (c *conn) listen(m *wire.Listen, at local.Address) error {
	l := &listening{at: at, label: describeListen(m), came: make(chan net.Conn)}
	l.task = task{
		caller: c.caller, server: c.server, id: m.ID, verb: wire.TypeListen, about: &l.label,
		share: share{class: c.peer.Class, forward: true},
	}
	l.over, l.end = context.WithCancelCause(context.Background())
	if err := c.begin(l); err != nil {
		l.end(nil)
		return c.reject(m, err)
	}
	return nil
}

func (l *listening) command() *job.Job { return nil }

func (l *listening) requested() { l.label.add(l.audit.Info()).Msg("listen requested") }

func (l *listening) proceed(err error) {
	defer l.end(nil)
	var bound []*net.TCPListener
	if err == nil {
		bound, err = local.Listen(l.over, l.at)
	}
	if reason := l.reason.Load(); err != nil && reason != nil {
		err = beforeStart(*reason)
	}
	if err != nil {
		l.refuse(err)
		return
	}
	where := bound[0].Addr().String()
	l.label.add(l.audit.Info()).Str("bound", where).Msg("listen started")
	l.send(&wire.Started{Head: wire.Head{ID: l.id}, Address: where})
	l.serve(bound)
	l.report()
}

// serve accepts connections until the listening is over.
func (l *listening) serve(bound []*net.TCPListener) {
	var accepting sync.WaitGroup
	for _, ln := range bound {
		accepting.Go(func() { l.accept(ln) }) // stopped by the close of ln
	}
	<-l.over.Done()
	for _, ln := range bound {
		_ = ln.Close()
	}
	accepting.Wait()
}

// accept hands over the connections of one listener. One that nobody takes is reset at the end.
func (l *listening) accept(ln *net.TCPListener) {
	pause := time.Duration(0)
	for {
		nc, err := ln.AcceptTCP()
		switch {
		case err == nil:
			pause = 0
		case l.over.Err() != nil:
			return
		case isTemporary(err):
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(pause):
			case <-l.over.Done():
			}
			continue
		default:
			l.end(err)
			return
		}
		select {
		case l.came <- nc:
		case <-l.over.Done():
			_ = nc.SetLinger(0)
			_ = nc.Close()
		}
	}
}

var errNoListener = fmt.Errorf("%w: the listener has ended", job.ErrNotFound)

// next returns the next connection. ctx ends the wait.
func (l *listening) next(ctx context.Context) (net.Conn, error) {
	select {
	case nc := <-l.came:
		return nc, nil
	case <-l.over.Done():
		return nil, errNoListener
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// report tells the log and the host how it ended.
func (l *listening) report() {
	answer, outcome := wire.Message(&wire.Done{Head: wire.Head{ID: l.id}}), "ended"
	switch reason := l.reason.Load(); {
	case reason == nil:
		err := context.Cause(l.over)
		answer, outcome = failure(l.id, kindOf(err), err.Error()), err.Error()
	case *reason == job.Shutdown:
		answer, outcome = failure(l.id, wire.ShuttingDown, errShutdown.Error()), errShutdown.Error()
	}
	l.label.add(l.audit.Info()).Str("outcome", clipTo(outcome, maxErrorText)).Msg("listen ended")
	l.answer(answer).release()
}

// terminate ends it and does not wait. Connections that were accepted go on.
func (l *listening) terminate(reason job.Reason, _ time.Duration) {
	l.reason.CompareAndSwap(nil, &reason)
	l.end(nil)
}

func (l *listening) overran() {}

func (l *listening) check() {}

func (l *listening) disconnected() { l.terminate(job.Killed, 0) }

// accept begins a forwarding whose service is the next client of a listener.
func (c *conn) accept(m *wire.Accept) error {
	w, err := c.find(m.Listener)
	l, ok := w.(*listening)
	if err != nil || !ok {
		return c.reject(m, fmt.Errorf("%w: no listener %d on this connection", job.ErrNotFound, m.Listener))
	}
	label := aboutForward{id: m.ID, network: l.label.network, address: l.label.address, listen: l.id}
	return c.beginForwarding(m, &forwarding{from: l, label: label}, m.ID, m.Stream)
}

func describeAccept(m *wire.Accept) aboutForward { return aboutForward{id: m.ID, listen: m.Listener} }

func checkAccept(m *wire.Accept) error {
	if m.Stream == 0 {
		return fmt.Errorf("%w: accept without a stream", errBadRequest)
	}
	return nil
}
