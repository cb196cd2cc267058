package session

import (
	"errors"
	"fmt"
	"math"

	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/local"
	"github.com/cocoonstack/cocoon-agent/internal/netid"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/ttymode"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A request is a host's message whose id and form are right.
type request struct {
	message wire.Message
	to      local.Address // of a forward or a listen

	// do carries it out, or begins to. It never waits for the host or for a
	// process. An error ends the connection. cost is the memory that has been
	// reserved for the request, and do's to release.
	do func(cost int) error
}

// handle has one request carried out, if its form is right and then the policy
// allows it: nothing happens before both are known. An error ends the connection.
func (c *conn) handle(m wire.Message, cost int) error {
	r, err := c.prepare(m)
	if err == nil {
		err = c.server.Policy.check(r)
	}
	if err == nil {
		err = c.server.isQuiet(m)
	}
	if err == nil {
		return r.do(cost)
	}
	c.mux.Release(cost)
	return c.reject(m, err)
}

// prepare is where the id and the form of every request are checked. It has no
// effect. The error wraps [errProtocol] if the message breaks a rule, and is
// otherwise the answer to the request.
func (c *conn) prepare(m wire.Message) (request, error) {
	verb, id := wire.About(m)
	r := request{message: m}
	if _, goodbye := m.(*wire.Error); goodbye { // the host closes the connection
		r.do = c.releasing(func() error { return nil })
		return r, nil
	}
	if id == 0 {
		return r, fmt.Errorf("%w: %q without an id", errProtocol, clip(string(verb)))
	}
	if begins(verb) && c.has(id) {
		return r, fmt.Errorf("%w: %s: id %d is in use", errProtocol, verb, id)
	}
	var err error
	switch m := m.(type) {
	case *wire.Exec:
		err = checkExec(m)
		r.do = func(cost int) error { return c.exec(m, cost) }
	case *wire.Files:
		err = checkFiles(m)
		r.do = func(cost int) error { return c.files(m, cost) }
	case *wire.Forward:
		r.to, err = parseForward(m)
		r.do = c.releasing(func() error { return c.forward(m, r.to) })
	case *wire.Listen:
		r.to, err = local.ParseListen(m.Network, m.Address)
		r.do = c.releasing(func() error { return c.listen(m, r.to) })
	case *wire.Accept:
		err = checkAccept(m)
		r.do = c.releasing(func() error { return c.accept(m) })
	case *wire.Signal:
		sig, invalid := proc.ParseSignal(m.Signal)
		if err = invalid; err == nil && len(m.Handle) > 0 {
			err = checkNamed("signal", m.Exec, m.Handle)
		}
		r.do = c.releasing(func() error { return c.signal(m, sig) })
	case *wire.Resize:
		err = checkResize(m)
		r.do = c.releasing(func() error { return c.resize(m) })
	case *wire.Kill:
		err = checkKill(m)
		r.do = c.releasing(func() error { return c.kill(m) })
	case *wire.Reseed:
		var network *netid.Network
		network, err = checkReseed(m)
		r.do = c.releasing(func() error { return c.reseed(m, network) })
	case *wire.Quiesce:
		err = checkQuiesce(m)
		r.do = c.releasing(func() error { return c.quiesce(m) })
	case *wire.Thaw:
		r.do = c.releasing(func() error { return c.thaw(m) })
	case *wire.Attach:
		err = checkAttach(m)
		r.do = c.releasing(func() error { return c.attach(m) })
	case *wire.Acked:
		r.do = c.releasing(func() error { c.acked(m); return nil })
	case *wire.Leave:
		r.do = c.releasing(func() error { return c.leave(m) })
	case *wire.Release:
		err = checkHandle(m.Handle)
		r.do = c.releasing(func() error { return c.releaseExec(m) })
	case *wire.Execs:
		r.do = c.releasing(func() error { return c.listExecs(m) })
	case *wire.Ping:
		r.do = c.releasing(func() error { return c.done(m.ID, nil) })
	case *wire.Info:
		r.do = c.releasing(func() error { return c.info(m) })
	case *wire.TooLong:
		r.do = c.releasing(func() error { return c.answer(failure(m.ID, wire.Limit, m.Err.Error())) })
	case *wire.Unknown:
		err = fmt.Errorf("%w: unknown request %q", errUnsupported, clip(string(m.Type)))
	default:
		err = fmt.Errorf("%w: %T is not a request", errProtocol, m)
	}
	return r, err
}

// begins says whether a request's id names what it begins, as long as that runs.
func begins(verb wire.Type) bool {
	switch verb {
	case wire.TypeExec, wire.TypeForward, wire.TypeAttach, wire.TypeListen, wire.TypeAccept, wire.TypeFiles:
		return true
	default:
		return false
	}
}

// releasing is do for a request that needs its memory no longer than do.
func (c *conn) releasing(do func() error) func(cost int) error {
	return func(cost int) error {
		defer c.mux.Release(cost)
		return do()
	}
}

// checkExec leaves to package proc what of it is for the kernel.
func checkExec(m *wire.Exec) error {
	if m.TTY != nil && m.Stderr != 0 && m.Stderr != m.Stdout {
		return fmt.Errorf("%w: stderr with a tty: a terminal has one output, stdout", errBadRequest)
	}
	if m.TTY != nil {
		if _, err := ttymode.Decode(m.TTY.Modes); err != nil {
			return fmt.Errorf("%w: tty: %w", errBadRequest, err)
		}
	}
	if m.OnDisconnect != "" && m.OnDisconnect != wire.DisconnectKill && m.OnDisconnect != wire.DisconnectKeep {
		return fmt.Errorf("%w: on_disconnect %q: want kill or keep", errBadRequest, clip(string(m.OnDisconnect)))
	}
	if err := checkKeeping(m); err != nil {
		return err
	}
	return checkLimits(m.Limits)
}

// checkKeeping checks what of an exec is to outlive its connection.
func checkKeeping(m *wire.Exec) error {
	k := &m.Keeping
	switch {
	case len(k.Key) > wire.MaxKey:
		return fmt.Errorf("%w: key of %d bytes: want at most %d", errBadRequest, len(k.Key), wire.MaxKey)
	case (len(k.Key) > 0) != (len(k.AgentID) > 0):
		return fmt.Errorf("%w: key and agent_id: want both or neither", errBadRequest)
	case !k.Detach && (k.Ring != 0 || k.RingFull != "" || k.LeaseMS != 0):
		return fmt.Errorf("%w: ring, ring_full or lease_ms without detach", errBadRequest)
	case k.Ring > wire.MaxRing:
		return fmt.Errorf("%w: ring of %d bytes: want at most %d", errBadRequest, k.Ring, wire.MaxRing)
	case k.RingFull != "" && k.RingFull != wire.RingDrop && k.RingFull != wire.RingBlock:
		return fmt.Errorf("%w: ring_full %q: want drop or block", errBadRequest, clip(string(k.RingFull)))
	case k.Detach && m.OnDisconnect == wire.DisconnectKill:
		return fmt.Errorf("%w: on_disconnect kill with detach", errBadRequest)
	}
	return nil
}

func checkAttach(m *wire.Attach) error {
	if m.From != wire.FromOffset && m.From != wire.FromOldest && m.From != wire.FromNow {
		return fmt.Errorf("%w: from %q: want oldest, now or nothing", errBadRequest, clip(string(m.From)))
	}
	if _, known := redraws[m.Redraw]; !known {
		return fmt.Errorf("%w: redraw %q: want auto, replay, winch or none", errBadRequest, clip(string(m.Redraw)))
	}
	if m.Stdout != 0 && m.Stdout == m.Stderr {
		return fmt.Errorf("%w: stdout and stderr of attach are one stream: want two", errBadRequest)
	}
	return checkHandle(m.Handle)
}

func checkHandle(handle []byte) error {
	if len(handle) != job.HandleSize {
		return fmt.Errorf("%w: handle of %d bytes: want %d", errBadRequest, len(handle), job.HandleSize)
	}
	return nil
}

func checkLimits(l *wire.Limits) error {
	if l == nil {
		return nil
	}
	for _, n := range []uint64{l.Memory, l.PIDs, l.CPUMilli} {
		if n > math.MaxInt64 {
			return fmt.Errorf("%w: limit %d: want at most %d", errBadRequest, n, math.MaxInt64)
		}
	}
	return nil
}

func parseForward(m *wire.Forward) (local.Address, error) {
	to, err := local.ParseAddress(m.Network, m.Address)
	if err == nil && m.Stream == 0 {
		err = fmt.Errorf("%w: forward without a stream", errBadRequest)
	}
	return to, err
}

func checkResize(m *wire.Resize) error {
	if m.Rows == 0 || m.Cols == 0 {
		return fmt.Errorf("%w: terminal size %d rows, %d columns: want 1 or more", errBadRequest, m.Rows, m.Cols)
	}
	return nil
}

func checkKill(m *wire.Kill) error {
	if len(m.Handle) == 0 {
		return nil
	}
	return checkNamed("kill", m.Exec, m.Handle)
}

// checkNamed checks a request about the exec that a handle names.
func checkNamed(verb string, exec uint64, handle []byte) error {
	if exec != 0 {
		return fmt.Errorf("%w: %s with both exec and handle: want one", errBadRequest, verb)
	}
	return checkHandle(handle)
}

func checkReseed(m *wire.Reseed) (*netid.Network, error) {
	if m.ClockNS > math.MaxInt64 {
		return nil, fmt.Errorf("%w: clock_ns %d: want at most %d", errBadRequest, m.ClockNS, math.MaxInt64)
	}
	return checkNetwork(m.Network)
}

// reject answers a request that is not carried out, and leaves a record of an
// exec, a forward, or what the policy denies.
func (c *conn) reject(m wire.Message, err error) error {
	if errors.Is(err, errProtocol) {
		return err
	}
	verb, id := wire.About(m)
	c.discard(streamsOf(m)...)
	switch {
	case errors.Is(err, errDenied):
		c.recordDenied(m)
	case begins(verb):
		c.refused(err, verb, c.describe(m))
	}
	return c.answer(failure(id, kindOf(err), err.Error()))
}

func streamsOf(m wire.Message) []uint32 {
	switch m := m.(type) {
	case *wire.Exec:
		return []uint32{m.Stdin, m.Stdout, m.Stderr}
	case *wire.Forward:
		return []uint32{m.Stream}
	case *wire.Accept:
		return []uint32{m.Stream}
	case *wire.Files:
		return []uint32{m.Stdin, m.Stdout}
	case *wire.Attach:
		return []uint32{m.Stdin, m.Stdout, m.Stderr}
	default:
		return nil
	}
}
