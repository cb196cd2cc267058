package main

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
)

func TestJSONHasNoCharactersThatDoAnything(t *testing.T) {
	for text, want := range map[string]string{
		"plain ü 中 😀":        `"plain ü 中 😀"`,
		"\x1b[2J\x7f":        `"\u001b[2J\u007f"`,
		"\u009b2J\u0085":     `"\u009b2J\u0085"`,
		"\u202e\u2066\u200f": `"\u202e\u2066\u200f"`,
		"\u061c\u2028\ufeff": `"\u061c\u2028\ufeff"`,
		"\u00a0\u00ad":       `"\u00a0\u00ad"`,
		"\U000e0041":         `"\udb40\udc41"`,
		"a\nb\tc":            `"a\nb\tc"`,
	} {
		var b strings.Builder
		if err := writeJSON(&b, text); err != nil || b.String() != want+"\n" {
			t.Errorf("writeJSON(%q) = %s, %v; want %s", text, b.String(), err, want)
		}
	}
}

// FuzzJSON: the text is what it was, and nothing of it does anything.
func FuzzJSON(f *testing.F) {
	f.Add("\x1b\u009b\u202e\U000e0041\n")
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ToValidUTF8(text, "?")
		var b strings.Builder
		if err := writeJSON(&b, text); err != nil {
			t.Fatal(err)
		}
		line := strings.TrimSuffix(b.String(), "\n")
		if i := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("writeJSON(%q) = %q, which has %q", text, line, line[i:])
		}
		var again string
		if err := json.Unmarshal([]byte(line), &again); err != nil || again != text {
			t.Errorf("writeJSON(%q) = %s, which is %q, %v", text, line, again, err)
		}
	})
}
