package v1

import "bytes"

// Encode returns f's line.
func Encode(f *Frame) []byte {
	var line bytes.Buffer
	_ = (&writer{to: &line}).frames(f)
	return line.Bytes()
}
