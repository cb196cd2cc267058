package kubelet

import (
	"time"

	"github.com/virtual-kubelet/virtual-kubelet/node/api"

	"github.com/cocoonstack/cocoon-agent/client"
)

// sizeTime is how long a terminal waits for its size, which kubectl sends at
// once: a program that asks for it first thing should not get 24 by 80.
const sizeTime = 500 * time.Millisecond

// terminal returns what the command's terminal begins as, or nil for none.
func (c *caller) terminal() *client.TTY {
	if !c.tty {
		return nil
	}
	timer := time.NewTimer(sizeTime)
	defer timer.Stop()
	select {
	case size, ok := <-c.resize:
		if !ok || size == (api.TermSize{}) {
			c.resize = nil
		}
		return &client.TTY{Rows: size.Height, Cols: size.Width}
	case <-timer.C:
	case <-c.ctx.Done():
	}
	return &client.TTY{}
}

// follow hands each further size to set, until there are no more.
func (c *caller) follow(set func(api.TermSize)) {
	for {
		select {
		case size, ok := <-c.resize:
			// When the caller's sizes have ended, virtual-kubelet sends 0x0 for as
			// long as somebody takes it.
			if !ok || size == (api.TermSize{}) {
				return
			}
			set(size)
		case <-c.ctx.Done():
			return
		}
	}
}
