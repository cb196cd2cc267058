package v1

import (
	"bytes"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// HungUp is for connections that the tests make.
var HungUp = hungUp

// Encode returns f's line.
func Encode(f *Frame) []byte {
	var line bytes.Buffer
	_ = (&writer{to: &line}).frames(f)
	return line.Bytes()
}

// ExitFrame is the last frame of a command that has ended as m says.
func ExitFrame(m *wire.Exited) *Frame { return new(Host).exit(m) }
