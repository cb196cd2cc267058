package main

import (
	"fmt"
	"runtime"
	"strings"
)

// An operand is a path of "cp".
type operand struct {
	path  string
	guest bool
	tar   bool // a tar stream on standard input or output
}

// parseOperand reads an operand: ":PATH" and "vm:PATH" are the guest's, "-" is a tar stream, and others
// are paths of this machine.
func parseOperand(text string) (operand, error) {
	if text == "-" {
		return operand{tar: true}, nil
	}
	before, after, colon := strings.Cut(text, ":")
	switch {
	case !colon || strings.ContainsAny(before, hostSeparators) || isDrive(before):
		if text == "" {
			return operand{}, misuse("a path is empty")
		}
		return operand{path: text}, nil
	case before != "" && before != "vm":
		return operand{}, misuse("%q: write ./%s for a file of this machine, and :PATH for one of the guest", text, text)
	case after == "":
		return operand{}, misuse("%q: the path after the colon is empty", text)
	}
	return operand{path: after, guest: true}, nil
}

// isDrive reports whether what is before a colon is a drive of Windows.
func isDrive(before string) bool {
	return runtime.GOOS == "windows" && len(before) == 1 && before != ":"
}

// copyOperands are the sources and the destination of "cp".
type copyOperands struct {
	from []operand
	to   operand
}

// parseOperands returns what is copied, from one side to the other.
func parseOperands(words []string) (c copyOperands, err error) {
	if len(words) < 2 {
		return c, misuse("want SRC… DST")
	}
	var all []operand
	for _, word := range words {
		o, err := parseOperand(word)
		if err != nil {
			return c, err
		}
		all = append(all, o)
	}
	c.from, c.to = all[:len(all)-1], all[len(all)-1]
	for _, o := range c.from {
		switch {
		case o.guest == c.to.guest && o.guest:
			return c, misuse("both paths are the guest's: run cp there (cocoon-agent client -- cp …)")
		case o.guest == c.to.guest:
			return c, misuse("no path is the guest's: write :PATH for one of the guest")
		case o.tar && len(c.from) > 1:
			return c, misuse("- is the only source: a tar stream has all files")
		}
	}
	return c, nil
}

func (o operand) String() string {
	switch {
	case o.tar:
		return "-"
	case o.guest:
		return ":" + o.path
	default:
		return o.path
	}
}

var hostSeparators = func() string {
	if runtime.GOOS == "windows" {
		return `/\`
	}
	return "/"
}()

// plural returns n and the noun.
func plural(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
