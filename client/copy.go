package client

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

const (
	stdoutName = "stdout"
	stderrName = "stderr"
)

var copyBuffers = sync.Pool{New: func() any {
	b := make([]byte, mux.MaxFrame)
	return &b
}}

// An outputCopy carries an output to the caller's Writer.
type outputCopy struct {
	name  string
	cmd   *Cmd
	from  atomic.Pointer[mux.Stream]
	to    io.Writer
	begin uint64 // offset of the first byte in the output of the command
	extra uint64 // bytes that come before it, to restore a screen

	paused chan struct{}    // has a token when the connection is lost; nil: the command does not resume
	next   chan *mux.Stream // then has the stream that goes on

	done     chan struct{} // closed when n is final
	n        atomic.Uint64 // bytes that the Writer has taken
	writeErr atomic.Pointer[error]

	state atomic.Int32 // of the Writer: idle, writing, or abandoned
}

// States of the Writer: idle ⇄ writing, and from both to abandoned.
const (
	idle = iota
	writing
	abandoned // it is not called again
)

// run is stopped by the end of the output, the connection's end, or a Writer
// that fails. A silent output costs no buffer. A loss the count tells.
func (o *outputCopy) run() {
	defer close(o.done)
	for {
		_, err := o.from.Load().WriteTo(o.target())
		if o.writeErr.Load() != nil {
			o.from.Load().Discard()
			o.cmd.end()
			return
		}
		if !errors.Is(err, ErrLost) || !o.goOn() {
			return
		}
	}
}

// goOn waits for the stream on which a lost output goes on. It reports false if there is
// none.
func (o *outputCopy) goOn() bool {
	if o.paused == nil {
		return false
	}
	o.paused <- struct{}{}
	select {
	case from := <-o.next:
		o.from.Store(from)
		return true
	case <-o.cmd.resuming.over:
		return false
	}
}

// offset returns the position in the output up to which the Writer has taken it.
func (o *outputCopy) offset() uint64 {
	n := o.n.Load()
	return o.begin + n - min(n, o.extra)
}

// Write hands p to the caller's Writer.
func (o *outputCopy) Write(p []byte) (int, error) { return o.writeIf(p, nil) }

// writeIf is Write, and writes nothing if ready is not nil and returns false. ready may
// look at the Writer.
func (o *outputCopy) writeIf(p []byte, ready func() bool) (int, error) {
	if !o.state.CompareAndSwap(idle, writing) {
		return 0, os.ErrClosed
	}
	defer o.state.CompareAndSwap(writing, idle)
	if ready != nil && !ready() {
		return 0, nil
	}
	allowed, limit := o.cmd.allowance.take(len(p))
	if allowed == 0 && limit != nil {
		o.writeErr.Store(&limit)
		return 0, limit
	}
	n, err := o.to.Write(p[:allowed])
	if err == nil && n < allowed {
		err = io.ErrShortWrite
	}
	o.n.Add(uint64(max(n, 0)))
	if err == nil {
		err = limit
	}
	if o.paused != nil {
		o.cmd.acknowledge(ackEach)
	}
	if err != nil {
		o.writeErr.Store(&err)
	}
	return n, err
}

// abandon sees to it that the Writer, which after Wait is the caller's again, is
// not called any more. A Write that is under way has until ctx ends.
func (o *outputCopy) abandon(ctx context.Context) {
	o.from.Load().Discard()
	if o.state.CompareAndSwap(idle, abandoned) {
		return
	}
	select {
	case <-o.done:
	case <-ctx.Done():
		o.state.Store(abandoned)
	}
}

// An inputCopy carries the caller's Reader to the command.
type inputCopy struct {
	cmd  *Cmd
	from io.Reader
	to   *mux.Stream

	readErr atomic.Pointer[error]
}

// run is stopped by the Reader's end, or, once the command has ended, by the
// first write. Nobody waits for it: the Reader may block.
func (i *inputCopy) run() {
	b := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(b)
	for {
		n, err := i.from.Read(*b)
		if n > 0 {
			if _, err := i.to.Write((*b)[:n]); err != nil {
				return // the command or the connection has ended, which Wait tells
			}
		}
		if err == io.EOF { // exactly io.EOF, as in io.Copy: an error that wraps it is a failure
			_ = i.to.Close()
			return
		}
		if err != nil {
			i.readErr.Store(&err)
			i.cmd.end() // and no end of input: the command must not take it for one
			return
		}
	}
}

// findPipes finds the pipes that Stdin, Stdout and Stderr are. As in os/exec,
// cmd.Stderr = cmd.Stdout after StdoutPipe sends both into the pipe.
func (c *Cmd) findPipes() {
	if in, ok := c.Stdin.(pipeStdin); ok {
		c.stdinPipe = in.pipe
	}
	if out, ok := c.Stdout.(pipeOutput); ok {
		c.pipes = append(c.pipes, out.pipe)
	}
	if out, ok := c.Stderr.(pipeOutput); ok && c.Stderr != c.Stdout {
		c.pipes = append(c.pipes, out.pipe)
	}
}

// copyStreams begins the copying. The pipes come first: what copies may end the
// command at once, which they must hear of.
func (c *Cmd) copyStreams() {
	stdout, stderr := c.Stdout, c.Stderr
	if c.attach != nil && sameWriter(stdout, stderr) {
		one := &serialWriter{to: stdout}
		stdout, stderr = one, one
	}
	c.addOutput(stdoutName, c.streams.stdout, stdout)
	if c.streams.stderr != c.streams.stdout {
		c.addOutput(stderrName, c.streams.stderr, stderr)
	}
	switch {
	case c.stdinPipe != nil:
		c.stdinPipe.to = c.streams.stdin.Stream
	case c.Stdin != nil:
		c.input = &inputCopy{cmd: c, from: c.Stdin, to: c.streams.stdin.Stream}
		go c.input.run()
	}
	for _, o := range c.outputs {
		go o.run() // Wait waits for it
	}
}

// A serialWriter has one goroutine at a time call Write.
type serialWriter struct {
	mu sync.Mutex
	to io.Writer
}

func (w *serialWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}

func (c *Cmd) addOutput(name string, from stdio, to io.Writer) {
	if from.Stream == nil {
		return
	}
	if out, ok := to.(pipeOutput); ok {
		out.pipe.name, out.pipe.from = name, from.Stream
		return
	}
	o := &outputCopy{name: name, cmd: c, to: to, begin: c.begin(name), done: make(chan struct{})}
	if name == stdoutName {
		o.extra = c.redrawn
	}
	if c.resuming != nil {
		o.paused, o.next = make(chan struct{}, 1), make(chan *mux.Stream, 1)
	}
	o.from.Store(from.Stream)
	c.outputs = append(c.outputs, o)
}

// StdinPipe returns a pipe to the command's standard input, to be written to
// after Start. Closing it is the end of input; Wait closes it too, once the
// command has ended. Write blocks while the command does not read; what is
// written after the command has closed its stdin is thrown away. Once the command is
// being ended, by its context or Kill, Write blocks for WaitDelay at most, and then
// returns an error that wraps [ErrWaitDelay].
func (c *Cmd) StdinPipe() (io.WriteCloser, error) {
	if c.Stdin != nil {
		return nil, errors.New("client: Stdin already set")
	}
	if c.started {
		return nil, errors.New("client: StdinPipe after the command was started")
	}
	p := &stdinPipe{cmd: c}
	c.Stdin = pipeStdin{p}
	return p, nil
}

// StdoutPipe returns a pipe from the command's standard output. Read it after Start, to
// the end, before Wait. It reads io.EOF at the end of output. If the connection ends
// first, Read returns an error that wraps [ErrLost]. Once the command is being ended,
// by its context or Kill, the pipe can be read for WaitDelay. Then Read returns an
// error that wraps [ErrWaitDelay], whatever the guest still sends.
//
// Wait closes the pipe. If the caller closes it earlier, the command has a pipe without
// a reader: it gets SIGPIPE, or EPIPE, when it writes. An agent without the feature
// "stream-close" throws the output away instead. A command that has not ended 5 seconds
// later is then ended as by its context. The output of a terminal is thrown away, and
// its command goes on.
//
// With cmd.Stderr = cmd.Stdout after StdoutPipe the pipe also carries standard error.
func (c *Cmd) StdoutPipe() (io.ReadCloser, error) {
	p, err := c.outputPipe("Stdout", c.Stdout)
	if err != nil {
		return nil, err
	}
	c.Stdout = pipeOutput{p}
	return p, nil
}

// StderrPipe is like StdoutPipe, for the command's standard error.
func (c *Cmd) StderrPipe() (io.ReadCloser, error) {
	p, err := c.outputPipe("Stderr", c.Stderr)
	if err != nil {
		return nil, err
	}
	c.Stderr = pipeOutput{p}
	return p, nil
}

func (c *Cmd) outputPipe(field string, set io.Writer) (*outputPipe, error) {
	if set != nil {
		return nil, errors.New("client: " + field + " already set")
	}
	if c.started {
		return nil, errors.New("client: " + field + "Pipe after the command was started")
	}
	return &outputPipe{cmd: c}, nil
}

// A pipeStdin and a pipeOutput are what a Cmd whose stream is a pipe has for a
// Reader or Writer. Nothing is copied.
type (
	pipeStdin  struct{ pipe *stdinPipe }
	pipeOutput struct{ pipe *outputPipe }
)

var errPipe = errors.New("client: the other end of this pipe belongs to the command")

func (pipeStdin) Read([]byte) (int, error)   { return 0, errPipe }
func (pipeOutput) Write([]byte) (int, error) { return 0, errPipe }

var errNotStarted = errors.New("client: command not started")

// A stdinPipe is what StdinPipe returns. It is safe for concurrent use.
type stdinPipe struct {
	cmd      *Cmd
	to       *mux.Stream // set by Start
	finished atomic.Bool // Wait has returned
}

// endBy ends writing at t.
func (p *stdinPipe) endBy(t time.Time) {
	if p.to != nil {
		p.to.SetWriteDeadline(t)
	}
}

func (p *stdinPipe) Write(b []byte) (int, error) {
	if p.to == nil {
		return 0, errNotStarted
	}
	n, err := p.to.Write(b)
	switch {
	case err != nil && p.finished.Load():
		err = os.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = p.cmd.late()
	}
	return n, err
}

func (p *stdinPipe) Close() error {
	if p.to == nil {
		return errNotStarted
	}
	return p.to.Close()
}

// An outputPipe is what StdoutPipe and StderrPipe return.
type outputPipe struct {
	cmd      *Cmd
	name     string      // set by Start
	from     *mux.Stream // set by Start
	finished atomic.Bool // Wait has returned: what is left belongs to nobody
	closed   atomic.Bool // by its reader, before that

	reading atomic.Int32 // calls of Read under way
	read    atomic.Bool  // Read has been called since unread was

	n     atomic.Uint64 // bytes that Read has returned
	ended atomic.Bool   // and then io.EOF

	readBy atomic.Pointer[time.Time] // nil: the command is not being ended
}

// endBy ends reading at t.
func (p *outputPipe) endBy(t time.Time) {
	p.readBy.Store(&t)
	if p.from != nil {
		p.from.SetReadDeadline(t)
	}
}

// unread says whether nobody reads, nor has since the last call.
func (p *outputPipe) unread() bool {
	return !p.read.Swap(false) && p.reading.Load() == 0
}

func (p *outputPipe) Read(b []byte) (int, error) {
	switch {
	case p.from == nil:
		return 0, errNotStarted
	case p.finished.Load():
		return 0, os.ErrClosed
	}
	if by := p.readBy.Load(); by != nil && !p.ended.Load() && time.Now().After(*by) { // however much has come
		return 0, p.cmd.late()
	}
	p.reading.Add(1)
	defer p.reading.Add(-1)
	p.read.Store(true)
	n, err := p.from.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = p.cmd.late()
	}
	p.n.Add(uint64(n))
	if err == io.EOF { //nolint:errorlint // an ErrLost may wrap it
		p.ended.Store(true)
	}
	return n, err
}

// Close ends the output as a broken pipe does. It does not wait.
func (p *outputPipe) Close() error {
	switch {
	case p.from == nil:
		return errNotStarted
	case p.closed.Swap(true) || p.finished.Swap(true):
		return nil
	case p.cmd.call.Load().link.hello.has(wire.FeatureStreamClose):
		p.from.Reset()
	default:
		p.from.Discard()
		if p.cmd.TTY == nil {
			p.cmd.breakPipe()
		}
	}
	return nil
}

// drop throws away what is still to come. The command is being ended.
func (p *outputPipe) drop() {
	if !p.finished.Swap(true) {
		p.from.Discard()
	}
}

// breakPipe ends a command whose agent cannot close a pipe, if it is still there after
// brokenPipeTime.
func (c *Cmd) breakPipe() {
	timer := time.AfterFunc(brokenPipeTime, c.end)
	go func() { // ends with Wait, or a moment after the timer
		defer timer.Stop()
		select {
		case <-c.waitOver:
		case <-c.ending:
		case <-c.call.Load().link.done:
		}
	}()
}

// brokenPipeTime is how long a command has to end by itself once nobody reads its output,
// if it cannot learn that. A test changes it.
var brokenPipeTime = 5 * time.Second
