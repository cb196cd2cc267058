package kubelet

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

const (
	// quiet is how long the caller must have sent nothing before the call returns.
	// virtual-kubelet then closes the connection. If input is arriving at that moment,
	// TCP resets the connection, the exit status is lost on the way, and kubectl exits
	// with 0. If a caller was not typing but sending, its next bytes may be held up for
	// a while. settleTime bounds it.
	quiet        = 50 * time.Millisecond
	quietSending = time.Second
	settleTime   = 3 * time.Second

	// sending is the number of bytes at a time that a caller cannot type.
	sending = 4 << 10

	// endGrace delays the end of input. If the caller has gone, spdystream reports both ends
	// together, but virtual-kubelet learns of the second one from another goroutine.
	endGrace = 20 * time.Millisecond

	inputBuffer = 32 << 10 // client-go's own frames are no longer
)

// An input is what the caller sends.
type input struct {
	caller *caller
	from   io.Reader

	begun bool
	bulk  atomic.Bool   // the latest bytes were many, or nobody took them
	heard chan struct{} // has a token when something has come
	ended chan struct{} // closed when no more will come
}

func newInput(c *caller, from io.Reader) *input {
	return &input{caller: c, from: from, heard: make(chan struct{}, 1), ended: make(chan struct{})}
}

// feed begins to carry the input to a Writer, and calls end at its end. Input that
// comes after the Writer has failed is thrown away: if nobody read it, it would hold up
// everything else on the connection.
func (i *input) feed(to io.Writer, end func()) {
	i.begun = true
	go i.copy(to, end) // stopped by the end of the connection, after the call: a Read may block until then
}

func (i *input) copy(to io.Writer, end func()) {
	b := make([]byte, inputBuffer)
	for {
		n, err := i.from.Read(b)
		i.bulk.Store(n >= sending || n > 0 && to == nil)
		select {
		case i.heard <- struct{}{}:
		default:
		}
		if to != nil && n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				to = nil // the command has ended
				i.bulk.Store(true)
			}
		}
		if err != nil {
			close(i.ended)
			if to != nil {
				i.finish(err, end)
			}
			return
		}
	}
}

// finish passes the end of input on, unless it is the end of the caller: half of
// a file must not be taken for the whole of it.
func (i *input) finish(err error, end func()) {
	if !errors.Is(err, io.EOF) {
		i.caller.gone(err)
		return
	}
	timer := time.NewTimer(endGrace)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-i.caller.ctx.Done():
		return
	}
	if o := i.caller.anyOutput(); o != nil {
		o.beat()
	}
	if i.caller.ctx.Err() == nil {
		end()
	}
}

// settle waits until the input has ended, or is quiet.
func (i *input) settle() {
	if !i.begun {
		i.feed(nil, nil)
	}
	limit, silence := time.NewTimer(settleTime), time.NewTimer(i.quiet())
	defer limit.Stop()
	defer silence.Stop()
	gone := i.caller.ctx.Done()
	if errors.Is(context.Cause(i.caller.ctx), ErrShutdown) {
		gone = nil // it is there, and to be told
	}
	for {
		select {
		case <-i.heard:
			silence.Reset(i.quiet())
		case <-silence.C:
			return
		case <-limit.C:
			return
		case <-i.ended:
			return
		case <-gone:
			return
		}
	}
}

func (i *input) quiet() time.Duration {
	if i.bulk.Load() {
		return quietSending
	}
	return quiet
}
