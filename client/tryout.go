package client

import (
	"bytes"
	"io"
	"strings"
)

// target returns what the output is written to. If the caller's Writer never blocks, that
// is a mux.TryWriter: the connection's receiving goroutine writes what comes while run
// waits. A file never is: even a write to a pipe with O_NONBLOCK waits for a reader whose
// memory is being paged in.
func (o *outputCopy) target() io.Writer {
	if o.paused != nil { // Write acknowledges what it has taken: the receiving goroutine must not write to a stream
		return o
	}
	switch w := o.to.(type) {
	case *bytes.Buffer:
		return growingOutput{o, w}
	case *strings.Builder:
		return growingOutput{o, builder{w}}
	case *ends:
		return readyOutput{o}
	}
	if o.to == io.Discard {
		return readyOutput{o}
	}
	return o
}

// A readyOutput is an output whose Writer never blocks.
type readyOutput struct{ *outputCopy }

// TryWrite is Write.
func (o readyOutput) TryWrite(p []byte) (int, error) { return o.Write(p) }

// A growingOutput is an output whose Writer blocks only while it moves what it holds, to
// make room for more.
type growingOutput struct {
	*outputCopy
	memory growing
}

type growing interface {
	Cap() int       // bytes
	Available() int // bytes of those, before what is held must be moved
}

// quickMove is how much may be moved while other outputs wait, in bytes.
const quickMove = 256 << 10

// TryWrite is Write, unless more than quickMove would have to be moved.
func (o growingOutput) TryWrite(p []byte) (int, error) {
	return o.writeIf(p, func() bool { return o.memory.Available() >= len(p) || o.memory.Cap() <= quickMove })
}

// A builder is a strings.Builder that says how much room there is.
type builder struct{ *strings.Builder }

func (b builder) Available() int { return b.Cap() - b.Len() }
