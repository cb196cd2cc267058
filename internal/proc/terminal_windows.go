package proc

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/windows"

	"github.com/cocoonstack/cocoon-agent/internal/lane"
)

// The size of a terminal whose Spec gives none.
const (
	defaultRows = 24
	defaultCols = 80
)

// A terminal is a pseudo-console. It reads one pipe and writes another.
type terminal struct {
	input, output *os.File // the agent's ends

	mu       sync.Mutex
	console  windows.Handle // 0: being closed, or closed
	wanted   *Size          // which it does not have yet; nil: none
	latest   Size           // which it has, or will have
	resizing bool           // a goroutine sees to it

	calls  sync.Mutex // held while the console is called, which may wait for its host process
	ending sync.Once
}

// openTerminal makes a terminal. Its modes are a POSIX terminal's, and Windows has others.
func openTerminal(t Terminal) (*pipes, error) {
	// Without it x/sys panics.
	if err := kernel32.NewProc("CreatePseudoConsole").Find(); err != nil {
		return nil, fmt.Errorf("%w: terminals, in Windows before 10 1809 and Server 2019: %w", ErrUnsupported, err)
	}
	size := t.Size
	if size.Rows == 0 || size.Cols == 0 {
		size.Rows, size.Cols = defaultRows, defaultCols
	}
	input, theirInput, err := openPipe("terminal", true)
	if err != nil {
		return nil, err
	}
	output, theirOutput, err := openPipe("terminal", false)
	if err != nil {
		return nil, errors.Join(err, input.Close(), windows.CloseHandle(theirInput))
	}
	x := &terminal{input: input, output: output, latest: size}
	p := &pipes{terminal: x, opened: []windows.Handle{theirInput, theirOutput}}
	err = windows.CreatePseudoConsole(coord(size), theirInput, theirOutput, 0, &x.console)
	if err != nil {
		x.console = 0
		p.close()
		return nil, startError(os.NewSyscallError("CreatePseudoConsole", err))
	}
	rawIn, err := lane.Pipe(input)
	if err == nil {
		p.stdin = &Input{file: input, raw: rawIn, terminal: x}
		rawIn, err = lane.Pipe(output)
		p.stdout = &Output{file: output, raw: rawIn, exited: make(chan struct{})}
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func coord(s Size) windows.Coord {
	const most = 1<<15 - 1
	return windows.Coord{X: int16(min(s.Cols, most)), Y: int16(min(s.Rows, most))}
}

// resize has the terminal get a size, soon, and does not wait for its host process. Of several
// sizes the last one counts.
func (t *terminal) resize(s Size) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.console == 0 {
		return os.ErrClosed
	}
	t.wanted, t.latest = &s, s
	if !t.resizing {
		t.resizing = true
		go t.resizeAsWanted() // ends when it has the size, or with the console
	}
	return nil
}

func (t *terminal) size() (Size, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.console == 0 {
		return Size{}, os.ErrClosed
	}
	return t.latest, nil
}

func (t *terminal) resizeAsWanted() {
	for {
		t.calls.Lock()
		t.mu.Lock()
		console, s := t.console, t.wanted
		t.wanted = nil
		if console == 0 || s == nil {
			t.resizing = false
			t.mu.Unlock()
			t.calls.Unlock()
			return
		}
		t.mu.Unlock()
		_ = resizeConsole(console, coord(*s)) // the terminal goes on as it is
		t.calls.Unlock()
	}
}

// resizeConsole is a variable for tests.
var resizeConsole = windows.ResizePseudoConsole

// interrupt types Ctrl-C.
func (t *terminal) interrupt() error {
	_, err := t.input.Write([]byte{3})
	return err
}

// endInput types Ctrl-Z and Enter, which end the input of a program that reads lines. afterLine
// says that the input ended with a line: within one, Enter comes first.
func (t *terminal) endInput(afterLine bool) {
	keys := "\x1a\r"
	if !afterLine {
		keys = "\r" + keys
	}
	_, _ = t.input.WriteString(keys)
}

// hangUp begins to close the console: what is left in it is told, and then its output ends. The
// output must be read meanwhile: before Windows 11 24H2 ClosePseudoConsole waits for that.
func (t *terminal) hangUp() {
	t.ending.Do(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		console := t.console
		t.console = 0
		if console == 0 {
			return
		}
		go func() { // ends when the output has been read, or is closed
			t.calls.Lock()
			defer t.calls.Unlock()
			windows.ClosePseudoConsole(console)
		}()
	})
}

// close closes all that the agent has of it.
func (t *terminal) close() {
	t.hangUp()
	_ = t.input.Close()
	_ = t.output.Close()
}
