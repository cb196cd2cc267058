package client

import (
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A TTY is what a command's terminal begins as. Its zero value is an xterm of 24
// rows and 80 columns.
type TTY struct {
	Rows, Cols uint16 // 0: 24 and 80
	Term       string // the command's TERM; empty: xterm
}

func (t *TTY) wire() *wire.TTY {
	if t == nil {
		return nil
	}
	return &wire.TTY{Rows: t.Rows, Cols: t.Cols, Term: t.Term}
}

// Resize changes the size of the command's terminal, whose foreground job gets
// SIGWINCH. It returns when the agent has done so, and is bounded as Signal is; a
// [*RemoteError] of kind [BadRequest] says that there is no terminal, or that a
// size is 0.
func (c *Cmd) Resize(rows, cols uint16) error {
	if c.pid == 0 {
		return errNotStarted
	}
	return c.control(func(h wire.Head) wire.Message {
		return &wire.Resize{Head: h, Exec: c.call.id, Rows: rows, Cols: cols}
	})
}
