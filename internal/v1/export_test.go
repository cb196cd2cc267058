package v1

import "bytes"

// HungUp is for connections that the tests make.
var HungUp = hungUp

// Encode returns f's line.
func Encode(f *Frame) []byte {
	var line bytes.Buffer
	_ = (&writer{to: &line}).frames(f)
	return line.Bytes()
}
