package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// escapeJSON returns JSON with everything in it escaped that is not ASCII and not
// printable: C1 controls and bidirectional overrides, for two, act on a terminal
// as a guest likes, and no JSON encoder escapes them.
func escapeJSON(text []byte) []byte {
	if !slices.ContainsFunc(text, func(b byte) bool { return b >= 0x7f }) {
		return text
	}
	var out []byte
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r < 0x7f, unicode.IsPrint(r) && r != utf8.RuneError:
			out = append(out, text[:size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		text = text[size:]
	}
	return out
}

// marshalEscaped is json.Marshal and escapeJSON.
func marshalEscaped(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	return escapeJSON(text), err
}
