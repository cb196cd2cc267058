package client

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxMessage is how many bytes an agent's messages keep.
const maxMessage = 4 << 10

// printable returns text of a guest's, of at most most bytes, that does nothing
// to a terminal.
func printable(text string, most int) string {
	const cut = "…"
	whole := len(text) <= most
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text[:min(len(text), most)])
	if whole && len(text) <= most {
		return text
	}
	n := min(len(text), most-len(cut))
	for n < len(text) && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + cut
}
