package wire_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"
)

// goldenFile compares the file with want, or, with -update, writes it.
func goldenFile(t *testing.T, name, want string) {
	t.Helper()
	path := filepath.Join(goldenDir, name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (make golden writes it)", err)
	}
	if diff := cmp.Diff(string(got), want); diff != "" {
		t.Errorf("%s is not what is written now (-file +now)\n%s", path, diff)
	}
}

// goldenText is the content of a golden file.
func goldenText(about, jsonText string, framed []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n%s\n", about, jsonText)
	for line := range slices.Chunk(framed, 16) {
		fmt.Fprintf(&b, "% x\n", line)
	}
	return b.String()
}

// A golden is a golden file, taken apart as its README says.
type golden struct {
	json  string
	bytes []byte
}

func readGolden(tb testing.TB, name string) golden {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(goldenDir, name+".txt"))
	if err != nil {
		tb.Fatal(err)
	}
	var g golden
	for line := range strings.Lines(string(text)) {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "#"):
		case g.json == "":
			g.json = line
		default:
			b, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
			if err != nil {
				tb.Fatalf("%s: %v", name, err)
			}
			g.bytes = append(g.bytes, b...)
		}
	}
	return g
}

// goldenJSON is body as JSON, its keys in their order on the wire. A value that
// JSON lacks is an object with the one key "bin" or "str", and its bytes in
// hex.
func goldenJSON(t *testing.T, body []byte) string {
	t.Helper()
	text, err := transcode(msgpack.NewDecoder(bytes.NewReader(body)))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func transcode(d *msgpack.Decoder) (string, error) {
	code, err := d.PeekCode()
	if err != nil {
		return "", err
	}
	switch {
	case code&0xf0 == 0x80, code == 0xde, code == 0xdf:
		n, err := d.DecodeMapLen()
		return transcodeAll(d, n, true, err)
	case code&0xf0 == 0x90, code == 0xdc, code == 0xdd:
		n, err := d.DecodeArrayLen()
		return transcodeAll(d, n, false, err)
	}
	v, err := d.DecodeInterface()
	if err != nil {
		return "", err
	}
	switch v := v.(type) {
	case []byte:
		return fmt.Sprintf(`{"bin":"%x"}`, v), nil
	case string:
		if !utf8.ValidString(v) {
			return fmt.Sprintf(`{"str":"%x"}`, v), nil
		}
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err = enc.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

func transcodeAll(d *msgpack.Decoder, n int, isMap bool, err error) (string, error) {
	parts := make([]string, n)
	for i := range parts {
		if err == nil {
			parts[i], err = transcode(d)
		}
		if isMap && err == nil {
			var value string
			value, err = transcode(d)
			parts[i] += ":" + value
		}
	}
	list := strings.Join(parts, ",")
	if isMap {
		return "{" + list + "}", err
	}
	return "[" + list + "]", err
}

// constantsOf returns the values of this package's constants of a string type.
func constantsOf(t *testing.T, goType string) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			name, ok := spec.Type.(*ast.Ident)
			if !ok || name.Name != goType {
				return true
			}
			for _, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					value, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					values = append(values, value)
				}
			}
			return true
		})
	}
	if len(values) == 0 {
		t.Fatalf("no constants of type %s", goType)
	}
	return values
}

func typeOf(t *testing.T, g goldenMessage) string {
	t.Helper()
	var h struct{ Type string }
	if err := json.Unmarshal([]byte(readGolden(t, g.name).json), &h); err != nil {
		t.Fatal(err)
	}
	return h.Type
}

// prefixed is body with its length before it.
func prefixed(body string) []byte {
	n := len(body)
	return append([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, body...)
}
