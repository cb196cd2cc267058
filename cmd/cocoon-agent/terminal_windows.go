package main

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/windows"
	"golang.org/x/term"

	"github.com/cocoonstack/cocoon-agent/client"
)

// sizeOf returns the size of a console, 0 if it is not known.
func sizeOf(fd int) client.TTY {
	cols, rows, err := term.GetSize(fd)
	if err != nil {
		return client.TTY{}
	}
	return client.TTY{Rows: uint16(max(rows, 0)), Cols: uint16(max(cols, 0))}
}

// sizeChanges tells of nothing: Windows has no SIGWINCH. The command's terminal
// keeps the size that the console had when the session began.
func sizeChanges() (changes chan os.Signal, stop func()) {
	return make(chan os.Signal), func() {}
}

// keysOf returns what is typed at a raw console.
func keysOf(console *os.File) io.Reader { return rawConsole{console} }

// A rawConsole is a console whose ^Z is a key as any other. A Read of os.File takes
// it for the end of the file, as programs do that read lines.
type rawConsole struct{ file *os.File }

const ctrlZ = 'Z' - '@'

// Read returns what has been typed.
func (c rawConsole) Read(p []byte) (int, error) {
	n, err := c.file.Read(p)
	if errors.Is(err, io.EOF) && len(p) > 0 {
		p[0] = ctrlZ
		return 1, nil
	}
	return n, err
}

// showSequences makes a console obey the escape sequences of what a command writes,
// until undo.
func showSequences(fd int) (undo func()) {
	console := windows.Handle(fd)
	var before uint32
	var screen windows.ConsoleScreenBufferInfo // an input console has none
	if windows.GetConsoleScreenBufferInfo(console, &screen) != nil ||
		windows.GetConsoleMode(console, &before) != nil ||
		windows.SetConsoleMode(console, before|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) != nil {
		return func() {} // no output console, or Windows before 10: they are shown as text
	}
	return func() { _ = windows.SetConsoleMode(console, before) }
}
