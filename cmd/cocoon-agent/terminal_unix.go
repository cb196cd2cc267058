//go:build unix

package main

import (
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/client"
)

// sizeOf returns the size of a terminal, 0 if it is not known.
func sizeOf(fd int) client.TTY {
	w, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil {
		return client.TTY{}
	}
	return client.TTY{Rows: w.Row, Cols: w.Col, WidthPX: w.Xpixel, HeightPX: w.Ypixel}
}

// sizeChanges tells of changes of the terminal's size from now on.
func sizeChanges() (changes chan os.Signal, stop func()) {
	changes = make(chan os.Signal, 1) // one stands for many: the size is read when it is taken
	signal.Notify(changes, syscall.SIGWINCH)
	return changes, func() { signal.Stop(changes) }
}

// keysOf returns what is typed at a raw terminal.
func keysOf(terminal *os.File) io.Reader { return terminal }

// showSequences does nothing: every terminal obeys escape sequences.
func showSequences(int) (undo func()) { return func() {} }
