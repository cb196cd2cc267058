package v1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Kinds of an [Agent]'s errors besides those of the protocol. They say that the
// connection of one request has failed, and not the connection that carries the
// requests.
const (
	Undialed   wire.ErrorKind = "undialed"   // there was none: nothing has been done
	Superseded wire.ErrorKind = "superseded" // the agent speaks version 2 by now; nothing has been done
	NotSpoken  wire.ErrorKind = "not_spoken" // the agent does not speak version 1; nothing has been done
	Lost       wire.ErrorKind = "lost"       // it has ended: what has been asked for may have been done, or begun
)

// ErrSuperseded is what a [Config]'s Probe returns if the agent speaks version 2.
var ErrSuperseded = errors.New("the agent was upgraded to protocol version 2")

// How long the agent has to answer.
const (
	pingTime   = 10 * time.Second
	reseedTime = 2 * time.Minute
)

// A Config is how an [Agent] reaches the one that it stands for.
type Config struct {
	// Dial makes a connection to it.
	Dial func(context.Context) (io.ReadWriteCloser, error)

	// Probe asks it for an answer, and says whether it still speaks version 1:
	// nil, [ErrSuperseded], or why there was no answer.
	Probe func(context.Context) error

	// Memory bounds what is held of long lines of agents'. nil: the Agent has one of
	// its own.
	Memory *Memory
}

// An Agent stands for a version-1 agent: it is what a client has a connection of
// protocol version 2 to. Each request is carried out over a connection of its own. A
// request that version 1 lacks is answered by the error unsupported.
type Agent struct {
	net.Conn // the client's end

	config Config
	ctx    context.Context // ends with the client's connection
	cancel context.CancelFunc

	mux     *mux.Session
	control *mux.Stream
	running sync.WaitGroup // requests
	done    chan struct{}  // closed when all has ended

	mu    sync.Mutex
	execs map[uint64]*execution
	asked *asking // the latest, or nil
}

// askAgain is how long it is taken for known whether the agent still speaks version
// 1: each question is a connection, and a guest may answer every command by an error.
const askAgain = 5 * time.Second

// An asking asks the agent whether it still speaks version 1.
type asking struct {
	begun      time.Time
	done       chan struct{} // closed when superseded is known
	superseded bool
}

// unlimited is the quota of a session with a client of this process, which
// bounds itself: a window for each command that does not read its input.
var unlimited = mux.QuotaConfig{Streams: math.MaxInt, AllStreams: math.MaxInt, Input: math.MaxInt, AllInput: math.MaxInt}

// NewAgent returns an Agent. The caller closes it, and then waits for it.
func NewAgent(c Config) *Agent {
	near, far := net.Pipe()
	if c.Memory == nil {
		c.Memory = new(Memory)
	}
	a := &Agent{Conn: near, config: c, done: make(chan struct{}), execs: make(map[uint64]*execution)}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	go a.run(far) // stopped by Close; Wait waits for it
	return a
}

// Wait waits until nothing of the Agent is left, after Close.
func (a *Agent) Wait() { <-a.done }

func (a *Agent) run(far net.Conn) {
	defer close(a.done)
	defer a.cancel()
	in := bufio.NewReaderSize(far, wire.MaxPreface)
	if err := wire.ReadPreface(in); err != nil {
		_ = far.Close()
		return
	}
	a.mux = mux.NewQuota(unlimited).Server(buffered{far, in})
	_ = a.serve() // the client knows why its connection has ended
	a.cancel()
	a.running.Wait()
	_ = a.mux.Close()
}

// buffered is a connection that is read through a buffer.
type buffered struct {
	net.Conn
	in *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.in.Read(p) }

// serve takes requests until the client's connection ends.
func (a *Agent) serve() (err error) {
	if a.control, err = a.mux.Control(a.ctx); err != nil {
		return err
	}
	a.send(&wire.Hello{
		Min: wire.ProtocolMin, Max: wire.ProtocolMax,
		Version: "protocol 1", OS: runtime.GOOS, Arch: runtime.GOARCH,
	})
	in := bufio.NewReader(a.control)
	for {
		m, err := wire.Read(in)
		if err != nil {
			return err
		}
		a.handle(m)
	}
}

// send sends a message. That it cannot be sent, serve learns of.
func (a *Agent) send(m wire.Message) { _ = wire.Write(a.control, m) }

// handle carries out a request, or begins to.
func (a *Agent) handle(m wire.Message) {
	switch m := m.(type) {
	case *wire.Exec:
		a.exec(m)
	case *wire.Kill:
		a.kill(m)
	case *wire.Ping:
		a.probe(m.ID, &wire.Done{Head: m.Head})
	case *wire.Info:
		a.probe(m.ID, &wire.Done{Head: m.Head, Guest: &wire.Guest{}}) // it tells nothing
	case *wire.Reseed:
		a.reseed(m)
	case *wire.Signal:
		a.send(unsupported(m.ID, "signals"))
	case *wire.Resize:
		a.send(unsupported(m.ID, "terminals"))
	case *wire.Forward:
		a.mux.Disclaim(m.Stream)
		a.send(unsupported(m.ID, "connections to services in the guest"))
	default:
		if what, id := wire.About(m); id != 0 { // not hello, or a goodbye
			a.send(unsupported(id, fmt.Sprintf("request %q", what)))
		}
	}
}

// unsupported is the answer to what version 1 has not.
func unsupported(id uint64, what string) *wire.Error {
	return refuse(id, wire.Unsupported, "the agent speaks protocol version 1, which has no "+what)
}

// refuse makes an answer of what a peer may have said, too.
func refuse(id uint64, kind wire.ErrorKind, message string) *wire.Error {
	const longest = 4 << 10
	return &wire.Error{Head: wire.Head{ID: id}, Kind: kind, Message: message[:min(len(message), longest)]}
}

// probe answers with answer if the agent does.
func (a *Agent) probe(id uint64, answer wire.Message) {
	a.running.Go(func() { // stopped by an answer, its time, or the client
		ctx, cancel := context.WithTimeout(a.ctx, pingTime)
		defer cancel()
		switch err := a.config.Probe(ctx); {
		case err == nil:
			a.send(answer)
		case errors.Is(err, ErrSuperseded):
			a.send(refuse(id, Superseded, err.Error()))
		default:
			a.send(refuse(id, Undialed, err.Error()))
		}
	})
}

// superseded says whether the agent speaks version 2 by now. All who want to know
// share one answer, for askAgain.
func (a *Agent) superseded(ctx context.Context) bool {
	a.mu.Lock()
	q := a.asked
	if q == nil || time.Since(q.begun) >= askAgain {
		q = &asking{begun: time.Now(), done: make(chan struct{})}
		a.asked = q
		a.running.Go(func() { a.ask(q) }) // stopped by an answer, its time, or the client
	}
	a.mu.Unlock()
	select {
	case <-q.done:
		return q.superseded
	case <-ctx.Done():
		return false
	}
}

func (a *Agent) ask(q *asking) {
	defer close(q.done)
	ctx, cancel := context.WithTimeout(a.ctx, pingTime)
	defer cancel()
	q.superseded = errors.Is(a.config.Probe(ctx), ErrSuperseded)
}

func (a *Agent) reseed(m *wire.Reseed) {
	switch {
	case m.ClockNS != 0 || m.ClockBack:
		a.send(unsupported(m.ID, "clocks"))
		return
	case m.Hostname != "":
		a.send(unsupported(m.ID, "hostnames"))
		return
	case m.SSHKeys:
		a.send(unsupported(m.ID, "ssh keys"))
		return
	}
	a.running.Go(func() { // likewise
		ctx, cancel := context.WithTimeout(a.ctx, reseedTime)
		defer cancel()
		a.send(a.reseeded(ctx, m))
	})
}

// reseeded carries out a reseed, and returns its answer.
func (a *Agent) reseeded(ctx context.Context, m *wire.Reseed) wire.Message {
	defer clear(m.Entropy)
	r, err := a.request(ctx, &Frame{Type: TypeReseed, Data: m.Entropy, RegenMachineID: m.MachineID})
	if err != nil {
		return refuse(m.ID, Undialed, err.Error())
	}
	defer r.close()
	for {
		f, err := r.lines.nextOfAgent()
		switch {
		case err != nil:
			return refuse(m.ID, Lost, ended(err))
		case f.Type == TypeError:
			return a.refused(ctx, m.ID, f)
		case f.Type == TypeExit && f.ExitCode != 0:
			return refuse(m.ID, wire.Internal, fmt.Sprintf("reseed: exit code %d", f.ExitCode))
		case f.Type == TypeExit:
			return &wire.Done{Head: m.Head, Steps: steps(m)}
		}
	}
}

// steps are those of a reseed that version 1 has.
func steps(m *wire.Reseed) []wire.Step {
	taken := []wire.Step{{Name: "entropy", Changed: true}}
	if m.MachineID {
		taken = append(taken, wire.Step{Name: "machine_id", Changed: true})
	}
	return taken
}

// refused is the answer to a request that the agent has answered by an error
// and, as far as it says, not begun.
func (a *Agent) refused(ctx context.Context, id uint64, f *Frame) *wire.Error {
	switch {
	case f.Kind == wire.Limit: // of a version-2 agent's connections
		return refuse(id, f.Kind, f.Message)
	case a.superseded(ctx): // and may not speak version 1
		return refuse(id, Superseded, ErrSuperseded.Error())
	case f.Kind == wire.Unsupported:
		return refuse(id, NotSpoken, f.Message)
	default:
		return refuse(id, wire.Internal, f.Message)
	}
}

// A request is a connection of its own.
type request struct {
	conn  io.ReadWriteCloser
	lines *Reader
	out   writer
	stop  func() bool
}

// agentLine is the size of the buffer for lines, in bytes.
const agentLine = 64 << 10

// request dials, and sends frames. ctx ends the connection, until close. An
// error says that there is none.
func (a *Agent) request(ctx context.Context, fs ...*Frame) (*request, error) {
	conn, err := a.config.Dial(ctx)
	if err != nil {
		return nil, err
	}
	r := &request{conn: conn, out: writer{to: conn}, lines: NewReader(conn, agentLine, MaxLine, a.config.Memory)}
	r.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	if err := r.out.frames(fs...); errors.Is(err, ErrTooLong) {
		r.close()
		return nil, err
	} // another one is the connection's, whose end says more
	return r, nil
}

// close is called by who reads the lines.
func (r *request) close() {
	r.stop()
	_ = r.conn.Close()
	r.lines.Close()
}

// ended says how a connection has ended, or what came instead of a frame.
func ended(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the agent closed the command's connection"
	}
	return err.Error()
}
