package clidoc

import (
	"regexp"
	"strings"
)

// literal matches the words of plain text that are code: flags, addresses, variables
// and escapes.
var literal = regexp.MustCompile(`--?[a-z][a-z0-9-]*|\b(?:vsock|hvsock|unix|tcp):[^\s,;()]*[^\s,;().]|\b[A-Z]+_[A-Z_]+\b|\b[a-z]+_[a-z_]+\(\d\)|~[.?]|\^[A-Z]`)

var escaper = strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "<", `\<`, "~", `\~`, "|", `\|`, "[", `\[`)

// inline returns plain text as Markdown that reads the same.
func inline(text string) string {
	var b strings.Builder
	last := 0
	for _, at := range literal.FindAllStringIndex(text, -1) {
		if at[0] > 0 && !strings.ContainsAny(text[at[0]-1:at[0]], " \n(\"") {
			continue // within a word
		}
		b.WriteString(escaper.Replace(text[last:at[0]]))
		b.WriteString("`" + text[at[0]:at[1]] + "`")
		last = at[1]
	}
	b.WriteString(escaper.Replace(text[last:]))
	return b.String()
}
