package client

import (
	"errors"
	"os"

	"github.com/cocoonstack/cocoon-agent/internal/ttymode"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A TTY is what a command's terminal begins as. Its zero value is an xterm of 24
// rows and 80 columns, whose characters are UTF-8.
type TTY struct {
	Rows, Cols uint16 // 0: 24 and 80
	Term       string // the command's TERM; empty: xterm

	// The size of the whole window, in pixels; 0: not known. Agents without the
	// feature "tty-modes" ignore it, and Modes.
	WidthPX, HeightPX uint16

	// Modes are those in which the terminal differs from the guest's own defaults.
	// A mode that the guest's system lacks is ignored, and so are characters above
	// 255. An opcode of 0, or above 159, is an error of Start.
	Modes TerminalModes
}

// TerminalModes are modes of a terminal by the opcodes of RFC 4254, section 8, as
// TerminalModes of golang.org/x/crypto/ssh: for keys a character, 255 for one that is
// turned off; for flags 0 or 1.
type TerminalModes map[uint8]uint32

// ModesOf returns the modes of a terminal of this program's system: what ssh takes along.
// They are to be read before the terminal is made raw. The error wraps
// [errors.ErrUnsupported] on Windows, and is the system's if f is not a terminal.
func ModesOf(f *os.File) (TerminalModes, error) {
	raw, err := f.SyscallConn() // Fd would have f block
	if err != nil {
		return nil, err
	}
	var m ttymode.Modes
	controlErr := raw.Control(func(fd uintptr) { m, err = ttymode.Of(int(fd)) })
	return TerminalModes(m), errors.Join(controlErr, err)
}

// wire returns nil for nil.
func (t *TTY) wire() (*wire.TTY, error) {
	if t == nil {
		return nil, nil
	}
	modes, err := ttymode.Encode(ttymode.Modes(t.Modes))
	return &wire.TTY{
		Rows: t.Rows, Cols: t.Cols, WidthPX: t.WidthPX, HeightPX: t.HeightPX, Term: t.Term, Modes: modes,
	}, err
}

// Resize changes the size of the command's terminal, whose foreground job gets
// SIGWINCH. It returns when the agent has done so, and is bounded as Signal is; a
// [*RemoteError] of kind [BadRequest] says that there is no terminal, or that a
// size is 0.
func (c *Cmd) Resize(rows, cols uint16) error { return c.ResizeTo(TTY{Rows: rows, Cols: cols}) }

// ResizeTo is Resize with the size in pixels, too. Only sizes of t count.
func (c *Cmd) ResizeTo(t TTY) error {
	if c.pid == 0 {
		return errNotStarted
	}
	return c.control(func(h wire.Head) wire.Message {
		return &wire.Resize{Head: h, Exec: c.call.Load().id, Rows: t.Rows, Cols: t.Cols, WidthPX: t.WidthPX, HeightPX: t.HeightPX}
	})
}
