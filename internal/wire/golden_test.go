package wire_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// goldenDir has a README that says what its files are.
var goldenDir = filepath.Join("..", "..", "testdata", "wire")

func TestGoldenFilesMatchAppendAndRead(t *testing.T) {
	for _, g := range goldenMessages() {
		t.Run(g.name, func(t *testing.T) {
			framed := goldenFrame(t, g)
			goldenFile(t, g.name, goldenText(g.about, goldenJSON(t, framed[frameHeader:]), framed))

			stored := readGolden(t, g.name).bytes
			if !bytes.Equal(stored, framed) {
				t.Errorf("the message is\n% x, the file has\n% x", framed, stored)
			}
			got, err := wire.Read(bytes.NewReader(stored))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(g.message, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("the file's bytes are read as (-want +got)\n%s", diff)
			}
		})
	}
}

func goldenFrame(t *testing.T, g goldenMessage) []byte {
	t.Helper()
	if g.body != "" {
		return prefixed(g.body)
	}
	return frame(t, g.message)
}

func TestGoldenPrefaceMatchesTheConstant(t *testing.T) {
	about := "the first line of a connection of version 2; its newline is part of it"
	goldenFile(t, "preface", goldenText(about, strings.TrimSuffix(wire.Preface, "\n"), []byte(wire.Preface)))

	stored := readGolden(t, "preface").bytes
	if string(stored) != wire.Preface {
		t.Errorf("the preface is %q, the file has %q", wire.Preface, stored)
	}
	if err := readPreface(string(stored)); err != nil {
		t.Error(err)
	}
}

func TestGoldenErrorLineIsARefusal(t *testing.T) {
	const message = "protocol \"cocoon-agent/3\" is not spoken here\n<&> naïve"
	about := "the line that refuses a connection before a protocol is agreed on; its newline is part of it"
	line := wire.AppendRefusal(nil, "", message)
	goldenFile(t, "error-line", goldenText(about, strings.TrimSuffix(string(line), "\n"), line))

	stored := readGolden(t, "error-line").bytes
	if !bytes.Equal(stored, line) {
		t.Errorf("the line is %q, the file has %q", line, stored)
	}
	if _, got, ok := wire.ParseRefusal(stored); got != message || !ok {
		t.Errorf("the file's line says %q, %t", got, ok)
	}
}

// Every value of the wire's closed sets, and every field of every message, has
// a golden file that shows it.
func TestGoldenFilesCoverTheSchema(t *testing.T) {
	shown := map[string][]any{} // key → its values, in all files
	fields := map[any][]string{}
	for _, g := range goldenMessages() {
		if g.body != "" {
			continue
		}
		var object map[string]any
		if err := json.Unmarshal([]byte(readGolden(t, g.name).json), &object); err != nil {
			t.Fatal(err)
		}
		for key, value := range object {
			shown[key] = append(shown[key], value)
			fields[object["type"]] = append(fields[object["type"]], key)
		}
	}
	for goType, key := range map[string]string{"Type": "type", "Reason": "reason", "ErrorKind": "kind", "OnDisconnect": "on_disconnect"} {
		for _, value := range constantsOf(t, goType) {
			if !slices.Contains(shown[key], any(value)) {
				t.Errorf("%s %q is in no golden file", key, value)
			}
		}
	}
	for _, g := range goldenMessages() {
		for _, key := range wire.KeysOf(g.message) {
			kind := typeOf(t, g)
			if g.body != "" || kind == string(wire.TypeHello) && key == "id" { // hello is about the connection
				continue
			}
			if !slices.Contains(fields[any(kind)], key) {
				t.Errorf("field %s of %s is in no golden file", key, kind)
			}
		}
	}
}

func TestGoldenFilesAreAllOfThisSchema(t *testing.T) {
	want := []string{"README.md", "error-line.txt", "preface.txt"}
	for _, g := range goldenMessages() {
		want = append(want, g.name+".txt")
	}
	slices.Sort(want)
	entries, err := os.ReadDir(goldenDir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got)\n%s", diff)
	}
}
