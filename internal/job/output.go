package job

import (
	"errors"
	"io"
	"sync"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// An output carries one output of a process to whoever watches the job. Its taken and
// cut are valid once it has ended.
type output struct {
	from *proc.Output

	taken int64 // bytes that its watcher has taken
	cut   bool
	ended bool // guarded by pumps: it is not run any more

	mu   sync.Mutex
	to   io.WriteCloser // nil: nobody
	left bool           // and nobody will be
}

// A resettable watcher's stream can be reset by its reader, who then wants no more output.
type resettable interface{ OnReset(f func()) }

// start has o carry from's bytes to to, on a goroutine of pumps. from may be nil:
// there is nothing to do.
func (o *output) start(pumps *sync.WaitGroup, from *proc.Output, to io.WriteCloser) {
	if from == nil {
		return
	}
	o.from = from
	o.mu.Lock()
	if !o.left {
		o.to = to
	}
	o.mu.Unlock()
	if r, ok := to.(resettable); ok {
		r.OnReset(from.HangUp)
	}
	pumps.Go(o.run) // stopped by the end of the output, or proc.Process.Drain
}

// again is start for an output that has been suspended.
func (o *output) again(pumps *sync.WaitGroup) {
	if o.from != nil && !o.ended {
		pumps.Go(o.run) // likewise
	}
}

func (o *output) run() {
	n, cut, err := o.from.CopyTo(o)
	o.taken += n
	if suspended(err) {
		return
	}
	// Another error is the watcher's matter, whose stream has failed.
	o.cut, o.ended = cut, true
	if to := o.watcher(); to != nil {
		_ = to.Close()
	}
}

var errLeft = errors.New("the job has no watcher")

// Write hands p to the watcher. After an error CopyTo throws the rest away.
func (o *output) Write(p []byte) (int, error) {
	to := o.watcher()
	if to == nil {
		return 0, errLeft
	}
	return to.Write(p)
}

func (o *output) watcher() io.WriteCloser {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.to
}

// leave lets the watcher go.
func (o *output) leave() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to, o.left = nil, true
}
