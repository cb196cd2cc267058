package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
)

// writeJSON writes one JSON value on a line of its own. Characters that may do
// something to a terminal are escaped: encoding/json leaves most of them as they are.
func writeJSON(out io.Writer, value any) error {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(value); err != nil {
		return err
	}
	_, err := out.Write(escapeJSON(b.Bytes()))
	return err
}

// escapeJSON writes what cannot be printed as \uXXXX. Outside of strings, JSON has
// no such characters but the newline at its end.
func escapeJSON(text []byte) []byte {
	escaped := make([]byte, 0, len(text))
	for _, r := range string(text) {
		switch high, low := utf16.EncodeRune(r); {
		case r == '\n' || unicode.IsPrint(r):
			escaped = append(escaped, string(r)...)
		case high != unicode.ReplacementChar:
			escaped = fmt.Appendf(escaped, `\u%04x\u%04x`, high, low)
		default:
			escaped = fmt.Appendf(escaped, `\u%04x`, r)
		}
	}
	return escaped
}
