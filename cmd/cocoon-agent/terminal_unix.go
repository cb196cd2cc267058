//go:build unix

package main

import (
	"io"
	"os"
	"os/signal"
	"syscall"
)

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
