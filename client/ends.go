package client

import (
	"fmt"
	"slices"
)

// endSize is how much of each end an ends keeps, as os/exec does.
const endSize = 32 << 10

// An ends keeps the beginning and the end of what is written to it, so that a
// command with a lot to complain of does not fill the host's memory.
type ends struct {
	head, tail []byte
	skipped    int64
}

func (e *ends) Write(p []byte) (int, error) {
	rest := p
	n := min(len(rest), endSize-len(e.head))
	e.head, rest = append(e.head, rest[:n]...), rest[n:]
	e.tail = append(e.tail, rest...)
	if over := len(e.tail) - endSize; over > 0 {
		e.tail = slices.Delete(e.tail, 0, over)
		e.skipped += int64(over)
	}
	return len(p), nil
}

func (e *ends) bytes() []byte {
	if e.skipped == 0 {
		return slices.Concat(e.head, e.tail)
	}
	return slices.Concat(e.head, fmt.Appendf(nil, "\n... omitting %d bytes ...\n", e.skipped), e.tail)
}
