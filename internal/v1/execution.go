package v1

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// An execution is one exec of a client's, over a connection to the agent of its
// own. Its end is what ends the command.
//
//	dialing → asked → started → ended: answered
type execution struct {
	agent *Agent
	req   *wire.Exec

	ctx context.Context         // ends when the command is ended from here
	end context.CancelCauseFunc // with why

	stdin, stdout, stderr *mux.Stream // nil: not wanted; stderr may be stdout
	stdoutBytes           uint64
	stderrBytes           uint64
	started               bool
	timeout               *time.Timer // nil: none
}

// Why a command is ended from here.
var (
	errKilled  = errors.New("ended by the host")
	errTimeout = errors.New("timed out")
)

func (a *Agent) exec(m *wire.Exec) {
	if refusal := impossible(m); refusal != nil {
		for _, id := range []uint32{m.Stdin, m.Stdout, m.Stderr} {
			a.mux.Disclaim(id)
		}
		a.send(refusal)
		return
	}
	e := &execution{agent: a, req: m}
	e.ctx, e.end = context.WithCancelCause(a.ctx)
	a.mu.Lock()
	a.execs[m.ID] = e
	a.mu.Unlock()
	a.running.Go(e.run) // stopped by end, or the agent
}

// impossible is the answer to an exec that version 1 cannot have, or nil.
func impossible(m *wire.Exec) *wire.Error {
	for _, missing := range []struct {
		asked bool
		what  string
	}{
		{m.TTY != nil, "terminals"},
		{m.User != "", "users"},
		{m.Dir != "", "working directories"},
		{m.ClearEnv, "environment without the agent's own"},
		{m.OnDisconnect == wire.DisconnectKeep, "commands that outlive their connection"},
		{m.Limits != nil, "limits"},
		{m.LingerMS != nil, "choice of how long output is read after the exit"},
		{m.Verbatim, "arguments that stand verbatim in a command line"},
		{!text(m.Argv) || !text(m.Env), "arguments and variables that are not UTF-8"},
	} {
		if missing.asked {
			return unsupported(m.ID, missing.what)
		}
	}
	for _, variable := range m.Env {
		if !strings.Contains(variable, "=") {
			return refuse(m.ID, wire.BadRequest, fmt.Sprintf("env %q: want KEY=VALUE", variable))
		}
	}
	return nil
}

func text(all []string) bool {
	for _, s := range all {
		if !utf8.ValidString(s) {
			return false
		}
	}
	return true
}

func (a *Agent) kill(m *wire.Kill) {
	a.mu.Lock()
	e := a.execs[m.Exec]
	a.mu.Unlock()
	if e == nil {
		a.send(refuse(m.ID, wire.NotFound, fmt.Sprintf("no running exec %d on this connection", m.Exec)))
		return
	}
	e.end(errKilled)
	a.send(&wire.Done{Head: m.Head})
}

// run is the execution's goroutine.
func (e *execution) run() {
	defer e.end(nil)
	answer := e.carryOut()
	if e.timeout != nil {
		e.timeout.Stop()
	}
	for _, s := range []*mux.Stream{e.stdin, e.stdout, e.stderr} {
		if s != nil {
			s.Discard() // the ends of outputs come before the answer
		}
	}
	e.agent.mu.Lock()
	delete(e.agent.execs, e.req.ID)
	e.agent.mu.Unlock()
	e.agent.send(answer)
}

func (e *execution) carryOut() wire.Message {
	if err := e.claim(); err != nil {
		return refuse(e.req.ID, wire.BadRequest, err.Error())
	}
	asked := []*Frame{e.frame()}
	if e.stdin == nil {
		asked = append(asked, &Frame{Type: TypeStdinClose})
	}
	r, err := e.agent.request(e.ctx, asked...)
	switch {
	case errors.Is(err, ErrTooLong):
		return refuse(e.req.ID, wire.BadRequest, "arguments and environment are too long: "+err.Error())
	case err != nil:
		return refuse(e.req.ID, Undialed, err.Error())
	}
	var feeding sync.WaitGroup
	if e.stdin != nil {
		feeding.Go(func() { e.feed(r) }) // stopped by the end of the stream, or of r
	}
	answer := e.follow(r)
	r.close()
	if e.stdin != nil {
		e.stdin.Discard()
	}
	feeding.Wait()
	return answer
}

// claim takes the streams that the request names.
func (e *execution) claim() (err error) {
	for _, w := range []struct {
		id uint32
		to **mux.Stream
	}{{e.req.Stdin, &e.stdin}, {e.req.Stdout, &e.stdout}, {e.req.Stderr, &e.stderr}} {
		switch {
		case w.id == 0:
		case w.to == &e.stderr && w.id == e.req.Stdout:
			e.stderr = e.stdout
		default:
			if *w.to, err = e.agent.mux.Claim(w.id); err != nil {
				return err
			}
		}
	}
	return nil
}

// frame is the request as version 1 has it. Of equal keys the last one counts.
func (e *execution) frame() *Frame {
	f := &Frame{Type: TypeExec, Argv: e.req.Argv}
	if len(e.req.Env) > 0 {
		f.Env = make(map[string]string, len(e.req.Env))
	}
	for _, variable := range e.req.Env {
		key, value, _ := strings.Cut(variable, "=")
		f.Env[key] = value
	}
	return f
}

// feed carries the client's input to the agent, and throws away what the agent
// does not take.
func (e *execution) feed(r *request) {
	if _, err := e.stdin.WriteTo(input{r}); err == nil {
		_ = r.out.frames(&Frame{Type: TypeStdinClose})
	} else {
		e.stdin.Discard()
	}
}

type input struct{ r *request }

func (i input) Write(p []byte) (int, error) {
	if err := i.r.out.data(TypeStdin, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// follow passes on what the agent says, and returns the last of it.
func (e *execution) follow(r *request) wire.Message {
	for {
		f, err := r.lines.nextOfAgent()
		if err != nil {
			return e.broken(ended(err))
		}
		if answer := e.take(f); answer != nil {
			return answer
		}
	}
}

// take passes on one frame. If that was the last one, it returns an answer.
func (e *execution) take(f *Frame) wire.Message {
	var err error
	switch f.Type {
	case TypeStarted:
		if e.started || f.PID < 0 || f.PID > math.MaxInt32 {
			return e.misplaced(f)
		}
		e.started = true
		e.armTimeout()
		e.agent.send(&wire.Started{Head: wire.Head{ID: e.req.ID}, PID: f.PID})
	case TypeStdout, TypeStderr:
		if !e.started {
			return e.misplaced(f)
		}
		err = e.put(f)
	case TypeExit:
		return e.exited(f)
	case TypeError:
		if !e.started {
			return e.agent.refused(e.ctx, e.req.ID, f)
		}
		return refuse(e.req.ID, wire.Internal, f.Message)
	default: // a later agent's
	}
	if err != nil {
		return e.broken(err.Error())
	}
	return nil
}

// armTimeout ends the command when its time is up, which begins when it does.
func (e *execution) armTimeout() {
	if e.req.TimeoutMS == 0 {
		return
	}
	const longest = uint64(math.MaxInt64 / time.Millisecond)
	d := time.Duration(min(e.req.TimeoutMS, longest)) * time.Millisecond
	e.timeout = time.AfterFunc(d, func() { e.end(errTimeout) })
}

func (e *execution) misplaced(f *Frame) wire.Message {
	return e.broken(fmt.Sprintf("the agent violated protocol version 1: unexpected %q", f.Type))
}

// put writes output to where it goes, if anywhere, and counts it.
func (e *execution) put(f *Frame) error {
	to, count := e.stdout, &e.stdoutBytes
	if f.Type == TypeStderr && e.stderr != e.stdout {
		to, count = e.stderr, &e.stderrBytes
	}
	if to == nil {
		return nil
	}
	n, err := to.Write(f.Data)
	*count += uint64(n)
	return err
}

// exited is the answer to a command that has ended. A code of Windows' has 32 bits
// and no sign; in version 2 it has one.
func (e *execution) exited(f *Frame) wire.Message {
	switch code := int64(f.ExitCode); {
	case !e.started || code < math.MinInt32 || code > math.MaxUint32:
		return e.misplaced(f)
	case code == -1:
		return e.exit(-1, wire.ReasonSignal)
	default:
		return e.exit(int(int32(uint32(code))), wire.ReasonExit)
	}
}

func (e *execution) exit(code int, reason wire.Reason) *wire.Exited {
	return &wire.Exited{
		Head: wire.Head{ID: e.req.ID}, Code: code, Reason: reason,
		StdoutBytes: e.stdoutBytes, StderrBytes: e.stderrBytes,
	}
}

// broken is the answer if the connection has ended before the command has, or has been
// ended: the agent then kills the command, and does not report how it went.
func (e *execution) broken(how string) wire.Message {
	switch cause := context.Cause(e.ctx); {
	case !e.started && cause != nil:
		return refuse(e.req.ID, Lost, cause.Error()+" before the agent confirmed its start")
	case errors.Is(cause, errTimeout):
		return e.exit(-1, wire.ReasonTimeout)
	case errors.Is(cause, errKilled):
		return e.exit(-1, wire.ReasonKilled)
	}
	return refuse(e.req.ID, Lost, how)
}
