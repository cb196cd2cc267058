package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
)

// maxSaid is how much Run keeps of each output, in bytes.
const maxSaid = 16 << 10

// A Ran is how a program has run that is the agent's own business.
type Ran struct {
	Status         string // how it failed, such as "exit status 3"; empty: it has exited with 0
	Stdout, Stderr []byte // the first 16 KiB
}

// Run runs a program and waits for its end. It ends a start that hangs, and the program with all that
// it has started, after within. in is its standard input; nil: none. The error is
// StartContext's, or says that the end of the program is not known.
func (s *Spawner) Run(spec Spec, within time.Duration, in io.WriterTo) (r Ran, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	spec.Stdin, spec.Stdout, spec.Stderr = in != nil, true, true
	p, err := s.StartContext(ctx, spec)
	if err != nil {
		return r, err
	}
	late := time.AfterFunc(within, func() { p.Terminate(0) })
	defer late.Stop()
	var streams sync.WaitGroup
	var stdout, stderr said
	if in != nil {
		streams.Go(func() { _, _ = p.Stdin().CopyFrom(in) }) // these end with the program
	}
	streams.Go(func() { _, _, _ = p.Stdout().CopyTo(&stdout) })
	streams.Go(func() { _, _, _ = p.Stderr().CopyTo(&stderr) })
	waitErr := p.Wait()
	p.Drain(DrainIdle)
	exit, err := p.Reap()
	streams.Wait()
	if err := errors.Join(waitErr, err); err != nil {
		return r, err
	}
	r.Stdout, r.Stderr = stdout.Bytes(), stderr.Bytes()
	switch {
	case p.Terminated():
		r.Status = fmt.Sprintf("no end after %v", within)
	case exit.Signal != 0:
		r.Status = "signal " + exit.SignalName
	case exit.Code != 0:
		r.Status = "exit status " + strconv.Itoa(exit.Code)
	}
	return r, nil
}

// A said keeps the first bytes of what is written to it.
type said struct{ bytes.Buffer }

func (b *said) Write(p []byte) (int, error) {
	_, _ = b.Buffer.Write(p[:min(len(p), maxSaid-b.Len())])
	return len(p), nil
}
