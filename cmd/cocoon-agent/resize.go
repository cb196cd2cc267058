package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/cocoonstack/cocoon-agent/client"
)

// sizeFlags are for programs that run this one for a terminal that they have themselves.
type sizeFlags struct {
	Rows     word  `placeholder:"N" help:"Rows of the command's terminal, with -t. Default: those of the local terminal, or 24."`
	Cols     word  `placeholder:"N" help:"Columns of the command's terminal, with -t. Default: those of the local terminal, or 80."`
	ResizeFD *word `name:"resize-fd" placeholder:"N" help:"Read new sizes of the command's terminal from the open file descriptor N, 3 or above: one line with ROWS COLS each."`
}

// maxSide is the most rows or columns that a terminal has.
const maxSide = 1<<16 - 1

// open checks the flags, and returns the descriptor that sizes are read from; nil: there is
// none.
func (f *sizeFlags) open(tty bool) (io.Reader, error) {
	switch {
	case f.Rows > maxSide || f.Cols > maxSide:
		return nil, misuse("--rows and --cols: want at most %d", maxSide)
	case !tty && (f.Rows > 0 || f.Cols > 0 || f.ResizeFD != nil):
		return nil, misuse("--rows, --cols and --resize-fd need -t")
	case f.ResizeFD == nil:
		return nil, nil //nolint:nilnil // there is none
	}
	file, err := openDescriptor(*f.ResizeFD, false)
	if err != nil {
		return nil, misuse("--resize-fd %d: %w", *f.ResizeFD, err)
	}
	return file, nil
}

// set puts the sizes of the flags into a terminal.
func (f *sizeFlags) set(tty *client.TTY) {
	if f.Rows == 0 && f.Cols == 0 {
		return
	}
	if f.Rows > 0 {
		tty.Rows = uint16(f.Rows)
	}
	if f.Cols > 0 {
		tty.Cols = uint16(f.Cols)
	}
	tty.WidthPX, tty.HeightPX = 0, 0 // of another size
}

// resizeFrom gives cmd's terminal the sizes that come as lines, until there are no more.
func resizeFrom(sizes io.Reader, cmd *client.Cmd) {
	lines := bufio.NewScanner(sizes)
	for lines.Scan() {
		rows, cols, err := parseSize(lines.Text())
		if err == nil {
			_ = cmd.Resize(rows, cols) // Wait tells of the command's end
			continue
		}
		fmt.Fprintf(os.Stderr, "cocoon-agent: --resize-fd: %v\r\n", err) // the terminal may be raw
	}
}

func parseSize(line string) (rows, cols uint16, err error) {
	fields := strings.Fields(line)
	if len(fields) == 2 {
		r, rowsErr := strconv.ParseUint(fields[0], 10, 16)
		c, colsErr := strconv.ParseUint(fields[1], 10, 16)
		if rowsErr == nil && colsErr == nil && r > 0 && c > 0 {
			return uint16(r), uint16(c), nil
		}
	}
	return 0, 0, fmt.Errorf("line %.32q: want ROWS COLS", line)
}
