package kubelet

import (
	"context"
	"io"
	"sync"
	"time"
)

// An output is a stream to the caller.
type output struct {
	to     io.WriteCloser
	failed func(error) // told of a Write that fails

	mu     sync.Mutex // a Write, the heartbeat's and Close take turns
	closed bool
}

// watch is for callers that go while nothing is written to them. It returns when
// ctx has ended.
func (o *output) watch(ctx context.Context, heartbeat time.Duration) {
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			o.beat()
		case <-ctx.Done():
			return
		}
	}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.to.Write(p)
	if err != nil {
		o.failed(err)
	}
	return n, err
}

// beat writes nothing, which no client sees: over SPDY an empty frame, over websockets
// an empty message. It fails like any other Write when the caller has gone, and it
// keeps the connection from being taken for idle. It does nothing while a Write is
// under way, which shows the same.
func (o *output) beat() {
	if !o.mu.TryLock() {
		return
	}
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	if _, err := o.to.Write(nil); err != nil {
		o.failed(err)
	}
}

// Close ends what the caller gets.
func (o *output) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	return o.to.Close()
}
