package v1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

const (
	// lingerTime is how long the host has, once the last frame has been written, to
	// read it and close the connection.
	lingerTime = 30 * time.Second

	// lookTime is how often the agent checks whether the host has gone, while no read
	// can tell: the process does not read its input, or the host has half-closed the
	// connection.
	lookTime = time.Second

	// maxEntropy is how many bytes of a reseed's entropy are used: as many as the
	// agent takes (docs/protocol.md, section 8).
	maxEntropy = 512

	// hostLine is the size of the buffer for lines, in bytes.
	hostLine = 16 << 10
)

// The ids that a Host uses, of its one request and of the end of it.
const (
	requestID = 1
	killID    = 2
)

// A Host stands for a version-1 host: it is what a session serves as a
// connection of protocol version 2, behind the preface.
//
//	asked → started → ended: its last frame has been written → closed
//
// A host that goes away before the last frame closes the session's connection. A host
// that half-closes the connection before that has ended its input. After the last
// frame the Host closes the session's connection when the host has closed or
// half-closed its own, or after lingerTime.
type Host struct {
	net.Conn // the session's end

	nc    net.Conn
	lines *Reader
	out   writer
	ended func() // is called when the last frame has been written

	mux     *mux.Session
	control *mux.Stream
	stdin   *mux.Stream // nil: of a reseed

	started   chan struct{}         // closed when the host has been told of the start
	over      chan struct{}         // closed when no more output is written
	told      chan struct{}         // closed when nothing more is written
	fed       chan struct{}         // closed when nothing more is read
	done      chan struct{}         // closed when both goroutines have ended
	violation atomic.Pointer[error] // what the host has done wrong

	mu       sync.Mutex
	watching bool        // no read can tell whether the host has gone
	look     *time.Timer // calls lookAfter meanwhile
}

// NewHost makes nc the connection of a version-1 host. Its first line has been read
// from lines. The Host calls ended once the last frame has been written to nc. The
// caller closes the Host, and nc, and then waits for it.
func NewHost(nc net.Conn, lines *Reader, first *Frame, ended func()) *Host {
	near, far := net.Pipe()
	h := &Host{
		Conn: near, nc: nc, out: writer{to: nc}, ended: ended,
		lines:   lines.behind(nc, hostLine),
		started: make(chan struct{}), over: make(chan struct{}), told: make(chan struct{}),
		fed: make(chan struct{}), done: make(chan struct{}),
	}
	h.look = time.AfterFunc(never, h.lookAfter)
	go h.run(far, lines, first) // stopped by the end of either connection; Wait waits for it
	return h
}

const never = 100 * 365 * 24 * time.Hour

// Wait waits until nothing of the Host is left, which takes the end of both
// connections.
func (h *Host) Wait() { <-h.done }

func (h *Host) run(far net.Conn, asked *Reader, first *Frame) {
	defer close(h.done)
	defer h.look.Stop()
	defer asked.Close()
	var err error
	if h.mux, h.control, err = mux.Client(far, ""); err != nil {
		return
	}
	last := h.ask(first)
	asked.Close()
	go h.feed() // stopped by the end of nc
	if last == nil {
		last = h.follow()
	}
	if v := h.violation.Load(); v != nil && last != nil {
		last = failure((*v).Error())
	}
	close(h.over)
	written := last != nil && h.out.frames(last) == nil
	close(h.told)
	if written {
		h.linger()
	}
	_ = h.mux.Close()
	<-h.fed
}

// A halfCloser is a connection whose directions end one by one, such as a Unix socket
// and a vsock.
type halfCloser interface{ CloseWrite() error }

// linger ends what the host reads, and lets it read that. Closing a connection with
// unread input may take the end away from the host, and a VMM may drop what a guest
// sends just before it closes.
func (h *Host) linger() {
	h.ended() // first: a host that reads the end may connect again at once
	if nc, ok := h.nc.(halfCloser); ok {
		_ = nc.CloseWrite() // an error says that the host has gone
	}
	if h.stdin != nil {
		h.stdin.Discard()
	}
	_ = h.nc.SetReadDeadline(time.Now().Add(lingerTime))
	<-h.fed
}

// ask sends the request. It returns an answer if the request is too large to be one.
func (h *Host) ask(first *Frame) *Frame {
	err := wire.Write(h.control, &wire.Hello{
		Min: wire.ProtocolMin, Max: wire.ProtocolMax,
		Version: "protocol 1", OS: runtime.GOOS, Arch: runtime.GOARCH,
	})
	head := wire.Head{ID: requestID}
	switch {
	case err != nil:
	case first.Type == TypeReseed:
		entropy := first.Data[:min(len(first.Data), maxEntropy)]
		err = wire.Write(h.control, &wire.Reseed{Head: head, Entropy: entropy, MachineID: first.RegenMachineID})
		clear(first.Data)
	default:
		m := &wire.Exec{Head: head, Argv: first.Argv}
		for _, key := range slices.Sorted(maps.Keys(first.Env)) {
			m.Env = append(m.Env, key+"="+first.Env[key])
		}
		if err = h.open(m); err == nil {
			err = wire.Write(h.control, m)
		}
	}
	if errors.Is(err, wire.ErrMessageTooLong) || errors.Is(err, wire.ErrMalformed) {
		return failure(err.Error())
	}
	return nil // a lost connection, follow learns of
}

// open opens the streams of a command.
func (h *Host) open(m *wire.Exec) error {
	stdin, err := h.mux.Open()
	if err != nil {
		return err
	}
	stdout, err := h.mux.OpenTo(output{h, TypeStdout})
	if err != nil {
		return err
	}
	stderr, err := h.mux.OpenTo(output{h, TypeStderr})
	if err != nil {
		return err
	}
	h.stdin = stdin
	m.Stdin, m.Stdout, m.Stderr = stdin.ID(), stdout.ID(), stderr.ID()
	return nil
}

// An output is one of the process's: what comes from it goes to the host at
// once. It holds up whatever the agent has sent behind it, and so what comes
// before the exit is written before that.
type output struct {
	host *Host
	is   Type
}

func (o output) Write(p []byte) (int, error) {
	select {
	case <-o.host.started: // which came before it, on another stream
	case <-o.host.over:
		return 0, io.ErrClosedPipe
	}
	if err := o.host.out.data(o.is, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// follow tells the host what the agent says, up to the last frame, which it
// returns. nil: a connection has ended.
func (h *Host) follow() *Frame {
	in := bufio.NewReader(h.control)
	for {
		m, err := wire.Read(in)
		if err != nil {
			return nil
		}
		switch m := m.(type) {
		case *wire.Started:
			if err := h.out.frames(&Frame{Type: TypeStarted, PID: m.PID}); err != nil {
				return nil
			}
			close(h.started)
		case *wire.Exited:
			return h.exit(m)
		case *wire.Done:
			if m.ID == requestID {
				return &Frame{Type: TypeExit}
			}
		case *wire.Error:
			if m.ID != killID { // of the request, or the connection
				return failure(m.Message)
			}
		}
	}
}

// exit is the last frame of a process. If it would be taken for success, and the
// process has not succeeded, it is an error.
func (h *Host) exit(m *wire.Exited) *Frame {
	switch {
	case m.Reason == wire.ReasonLost:
		return failure("exit code lost")
	case m.Code == 0 && m.Reason != wire.ReasonExit:
		return failure("the agent terminated the command: " + string(m.Reason))
	}
	if m.Status != 0 { // of Windows: as a signed number 0xFFFFFFFF would be the -1 of a signal
		return &Frame{Type: TypeExit, ExitCode: int(m.Status)}
	}
	return &Frame{Type: TypeExit, ExitCode: m.Code}
}

func failure(message string) *Frame { return &Frame{Type: TypeError, Message: message} }

// feed reads what the host sends, to its end. Until the last frame has been written,
// these frames are input, or a violation.
func (h *Host) feed() {
	defer close(h.fed)
	defer h.lines.Close()
	err := h.input()
	if err != nil && !errors.Is(err, errGone) {
		h.violate(err)
	}
	if !errors.Is(err, errGone) {
		if _, err = io.Copy(io.Discard, h.nc); err == nil {
			h.outlast()
		}
	}
	_ = h.mux.Close() // a host that does not read may hold it up, until the session closes nc
}

// outlast waits until a host that sends nothing more has been told all, or has gone.
func (h *Host) outlast() {
	if _, ok := h.nc.(halfCloser); !ok {
		return // it has gone
	}
	h.setWatching(true)
	h.lookAfter()
	<-h.told // or it has gone: then the session ends, and nothing more is written
	h.setWatching(false)
}

// Errors of input.
var (
	// errGone says that the host has gone, or been given up.
	errGone = errors.New("the host closed the connection")

	errIncomplete = fmt.Errorf("%w: the last line has no newline", ErrMalformed)
)

// input passes on what the host sends until it may send nothing more, or does not.
func (h *Host) input() error {
	if h.stdin == nil {
		return nil
	}
	for {
		f, err := h.lines.Next()
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			_ = h.stdin.Close()
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return errIncomplete
		case errors.Is(err, ErrMalformed), errors.Is(err, ErrTooLong), errors.Is(err, ErrNotObject), errors.Is(err, ErrMemory):
			return err
		default:
			return errGone
		}
		switch f.Type {
		case TypeStdin: // ignored once it has been closed
			h.give(f.Data)
		case TypeStdinClose:
			_ = h.stdin.Close()
		case TypeExec, TypeReseed:
			return fmt.Errorf("%s: only one request per connection", f.Type)
		default: // a later host's
		}
	}
}

// give gives the process some input. It blocks while the process does not read.
func (h *Host) give(p []byte) {
	h.setWatching(true)
	_, _ = h.stdin.Write(p) // what becomes of it is the process's matter
	h.setWatching(false)
}

func (h *Host) setWatching(is bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watching = is; is {
		h.look.Reset(lookTime)
	} else {
		h.look.Stop()
	}
}

// lookAfter ends the session if the host has gone.
func (h *Host) lookAfter() {
	gone := hungUp(h.nc)
	h.mu.Lock()
	watching := h.watching
	if watching && !gone {
		h.look.Reset(lookTime)
	}
	h.mu.Unlock()
	if watching && gone {
		_ = h.mux.Close()
	}
}

// violate ends the command of a host that has broken the rules, which the last
// frame will say.
func (h *Host) violate(err error) {
	h.violation.Store(&err)
	_ = wire.Write(h.control, &wire.Kill{Head: wire.Head{ID: killID}, Exec: requestID})
}
