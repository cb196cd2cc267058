package wire_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cocoonstack/cocoon-agent/internal/loadtest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// ping is a message with the value of an unknown field at its end.
func ping(value string) string { return "\x83\xa4type\xa4ping\xa2id\x01\xa1x" + value }

func TestDecodeRefusesWhatIsMalformed(t *testing.T) {
	nested := func(n int, level string) string { return strings.Repeat(level, n) }
	for name, body := range map[string]string{
		"empty": "",

		// not a map
		"nil":               "\xc0",
		"string":            "\xa4ping",
		"array":             "\x92\xa4ping\x01",
		"empty array":       "\x90",
		"array16":           "\xdc\x00\x00",
		"integer":           "\x01",
		"JSON":              `{"type":"ping"}`,
		"true":              "\xc3",
		"bin":               "\xc4\x01\x80",
		"a frame's length":  "\x00\x00\x00\x0b\x81\xa4type\xa4ping",
		"an extension type": "\xd4\x01\x00",

		// no type
		"empty map":     "\x80",
		"empty map16":   "\xde\x00\x00",
		"no type":       "\x81\xa2id\x01",
		"nil type":      "\x81\xa4type\xc0",
		"empty type":    "\x81\xa4type\xa0",
		"integer type":  "\x81\xa4type\x05",
		"array type":    "\x81\xa4type\x91\xa4ping",
		"type's case":   "\x81\xa4Type\xa4ping",
		"type in a map": "\x81\xa1x\x81\xa4type\xa4ping",

		// behind its end
		"a byte behind":    "\x81\xa4type\xa4ping\x00",
		"a nil behind":     "\x81\xa4type\xa4ping\xc0",
		"a message behind": "\x81\xa4type\xa4ping\x81\xa4type\xa4ping",

		// formats that are not used
		"0xc1":         ping("\xc1"),
		"fixext1":      ping("\xd4\x01\x00"),
		"fixext2":      ping("\xd5\x01\x00\x00"),
		"fixext4":      ping("\xd6\xff\x00\x00\x00\x00"), // a timestamp
		"fixext8":      ping("\xd7\xff" + strings.Repeat("\x00", 8)),
		"fixext16":     ping("\xd8\x01" + strings.Repeat("\x00", 16)),
		"ext8":         ping("\xc7\x0c\xff" + strings.Repeat("\x00", 12)),
		"ext16":        ping("\xc8\x00\x01\x01\x00"),
		"ext32":        ping("\xc9\x00\x00\x00\x01\x01\x00"),
		"nested ext":   ping("\x91\x81\xa1y\xd4\x01\x00"),
		"ext as a key": "\x82\xa4type\xa4ping\xd4\x80\x00\x01", // the codec's interned strings
		"ext as type":  "\x81\xa4type\xd4\x80\x00",

		// lengths without their bytes
		"fixstr":          ping("\xa5abcd"),
		"str8":            ping("\xd9\xff"),
		"str16":           ping("\xda\xff\xff"),
		"str32":           ping("\xdb\xff\xff\xff\xff"),
		"bin32":           ping("\xc6\xff\xff\xff\xff"),
		"array16 of what": ping("\xdc\xff\xff"),
		"array32 of what": ping("\xdd\xff\xff\xff\xff"),
		"map16 of what":   ping("\xde\xff\xff"),
		"map32 of what":   ping("\xdf\xff\xff\xff\xff"),
		"argv of what":    "\x82\xa4type\xa4exec\xa4argv\xdd\xff\xff\xff\xff",
		"argument":        "\x82\xa4type\xa4exec\xa4argv\x91\xdb\xff\xff\xff\xff",
		"handle":          "\x82\xa4type\xa7started\xa6handle\xc6\xff\xff\xff\xff",
		"type":            "\x81\xa4type\xdb\xff\xff\xff\xff",
		"key":             "\x81\xdb\xff\xff\xff\xff",
		"map without end": "\xdf\xff\xff\xff\xff\xa4type\xa4ping",
		"half a length":   ping("\xdb\x00\x00"),
		"half an integer": ping("\xcf\x00\x00\x00"),

		// limits
		"arrays too deep":       ping(nested(wire.MaxDepth, "\x91") + "\x90"),
		"maps too deep":         ping(nested(wire.MaxDepth, "\x81\xa1y") + "\x80"),
		"maps as keys too deep": ping(nested(wire.MaxDepth, "\x81") + "\x80" + nested(wire.MaxDepth, "\xc0")),
		"endlessly deep":        ping(nested(wire.MaxMessage-16, "\x91")),
		"too many elements":     ping(array32(wire.MaxElements-pingValues+1, "\xc0")),
		"too many arrays":       ping(array32(wire.MaxElements/2, "\x91\xc0")),
		"too many keys":         "\xdf\x00\x02\x00\x00\xa4type\xa4ping" + strings.Repeat("\xa1x\xc0", 0x1ffff),
	} {
		if m, err := wire.Decode([]byte(body)); !errors.Is(err, wire.ErrMalformed) || m != nil {
			t.Errorf("%s: %#v, %v; want ErrMalformed", name, m, err)
		}
	}
}

// pingValues is how many values ping(array) has besides the array's elements.
const pingValues = 7

func TestDecodeTakesWhatIsJustWithinTheLimits(t *testing.T) {
	for name, value := range map[string]string{
		"deepest arrays":       strings.Repeat("\x91", wire.MaxDepth-1) + "\x90",
		"deepest maps":         strings.Repeat("\x81\xa1y", wire.MaxDepth-1) + "\x80",
		"most elements":        array32(wire.MaxElements-pingValues, "\xc0"),
		"most entries":         "\xdf\x00\x01\xff\xfc" + strings.Repeat("\xa1y\xc0", 0x1fffc),
		"deepest, then others": "\x92" + strings.Repeat("\x91", wire.MaxDepth-2) + "\x90" + strings.Repeat("\x91", wire.MaxDepth-2) + "\xc0",
	} {
		want := &wire.Ping{Head: wire.Head{Type: wire.TypePing, ID: 1}}
		m, err := wire.Decode([]byte(ping(value)))
		if diff := cmp.Diff(wire.Message(want), m); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got)\n%s", name, err, diff)
		}
	}
}

func TestDecodeCutAtEveryByteIsMalformed(t *testing.T) {
	for _, g := range goldenMessages() {
		body := goldenFrame(t, g)[frameHeader:]
		for n := range body {
			if m, err := wire.Decode(body[:n:n]); !errors.Is(err, wire.ErrMalformed) {
				t.Fatalf("%s cut after %d bytes: %v, %v", g.name, n, m, err)
			}
		}
	}
}

// Any change of one byte gives a message or ErrMalformed, never a panic.
func TestDecodeSurvivesEveryChangeOfOneByte(t *testing.T) {
	loadtest.Heavy(t)
	for _, name := range []string{"exec", "started", "exited-every-field", "received-unknown-field"} {
		body := readGolden(t, name).bytes[frameHeader:]
		for i := range body {
			changed := slices.Clone(body)
			for v := range 256 {
				changed[i] = byte(v)
				if m, err := wire.Decode(changed); err != nil && !errors.Is(err, wire.ErrMalformed) || (m == nil) != (err != nil) {
					t.Fatalf("%s, byte %d is 0x%02x: %v, %v", name, i, v, m, err)
				}
			}
		}
	}
}

func TestDecodeRefusesKnownFieldsOfAnotherType(t *testing.T) {
	values := map[string]string{
		"a string": "\xa1s", "a number": "\x05", "a float": "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00",
		"a bool": "\xc3", "an array": "\x91\xa1s", "an array of numbers": "\x91\x05", "a map": "\x81\xa1k\xa1v",
	}
	for _, field := range []struct {
		message, key string
		takes        []string
	}{
		{"ping", "id", []string{"a number"}},
		{"hello", "min", []string{"a number"}},
		{"hello", "features", []string{"an array"}},
		{"hello", "version", []string{"a string"}},
		{"exec", "argv", []string{"an array"}},
		{"exec", "env", []string{"an array"}},
		{"exec", "clear_env", []string{"a bool"}},
		{"exec", "dir", []string{"a string"}},
		{"exec", "tty", []string{"a map"}},
		{"exec", "stdin", []string{"a number"}},
		{"exec", "timeout_ms", []string{"a number"}},
		{"exec", "linger_ms", []string{"a number"}},
		{"exec", "on_disconnect", []string{"a string"}},
		{"signal", "exec", []string{"a number"}},
		{"signal", "signal", []string{"a string"}},
		{"kill", "force", []string{"a bool"}},
		{"forward", "network", []string{"a string"}},
		{"forward", "address", []string{"a string"}},
		{"forward", "stream", []string{"a number"}},
		{"started", "pid", []string{"a number"}},
		{"started", "handle", []string{"a string"}}, // a client that has no bin
		{"started", "notes", []string{"an array"}},
		{"exited", "code", []string{"a number"}},
		{"exited", "stdout_bytes", []string{"a number"}},
		{"exited", "cut", []string{"a bool"}},
		{"exited", "reason", []string{"a string"}},
		{"error", "kind", []string{"a string"}},
		{"error", "message", []string{"a string"}},
	} {
		for name, value := range values {
			body := "\x82\xa4type" + fixstr(field.message) + fixstr(field.key) + value
			m, err := wire.Decode([]byte(body))
			if slices.Contains(field.takes, name) {
				if err != nil {
					t.Errorf("%s: %s is %s: %v", field.message, field.key, name, err)
				}
			} else if !errors.Is(err, wire.ErrMalformed) {
				t.Errorf("%s: %s is %s: %+v, %v; want ErrMalformed", field.message, field.key, name, m, err)
			}
		}
	}
}

func fixstr(s string) string { return string([]byte{0xa0 | byte(len(s))}) + s }

// A number that is cut to its low bits would name another stream, or another
// request.
func TestDecodeRefusesNumbersThatDoNotFit(t *testing.T) {
	for name, body := range map[string]string{
		"stream id of 33 bits":    "\x82\xa4type\xa4exec\xa6stdout\xcf\x00\x00\x00\x01\x00\x00\x00\x03",
		"negative stream id":      "\x82\xa4type\xa4exec\xa6stdout\xfd",
		"rows of 17 bits":         "\x82\xa4type\xa4exec\xa3tty\x81\xa4rows\xce\x00\x01\x00\x05",
		"negative rows":           "\x82\xa4type\xa4exec\xa3tty\x81\xa4rows\xff",
		"negative id":             "\x82\xa4type\xa4ping\xa2id\xff",
		"negative exec":           "\x82\xa4type\xa4kill\xa4exec\xd1\xff\x00",
		"negative timeout":        "\x82\xa4type\xa4exec\xaatimeout_ms\xff",
		"negative stdout_bytes":   "\x82\xa4type\xa6exited\xacstdout_bytes\xd3\xff\xff\xff\xff\xff\xff\xff\xfb",
		"code of 64 bits":         "\x82\xa4type\xa6exited\xa4code\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
		"pid of 64 bits":          "\x82\xa4type\xa7started\xa3pid\xcf\x80\x00\x00\x00\x00\x00\x00\x00",
		"protocol version, in 64": "\x82\xa4type\xa5hello\xa3max\xcf\xff\xff\xff\xff\xff\xff\xff\xfe",
	} {
		if m, err := wire.Decode([]byte(body)); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %+v, %v; want ErrMalformed", name, m, err)
		}
	}
}

func TestDecodeIgnoresUnknownFields(t *testing.T) {
	for name, value := range map[string]string{
		"nil": "\xc0", "false": "\xc2", "number": "\x05", "negative number": "\xe0", "wide number": "\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
		"float32": "\xca\x3f\x80\x00\x00", "float64": "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00",
		"string": "\xa3abc", "str8": "\xd9\x01a", "str16": "\xda\x00\x01a", "str32": "\xdb\x00\x00\x00\x01a",
		"bin8": "\xc4\x01a", "bin16": "\xc5\x00\x01a", "bin32": "\xc6\x00\x00\x00\x01a",
		"array": "\x93\x01\xa1a\x90", "array16": "\xdc\x00\x01\xc0", "array32": "\xdd\x00\x00\x00\x01\xc0",
		"map": "\x82\xa4type\xa4exec\xa2id\x63", "map16": "\xde\x00\x01\xa1a\x01", "map32": "\xdf\x00\x00\x00\x01\xa1a\x01",
		"map of odd keys": "\x84\x01\x02\xc0\xc0\x90\x90\x80\x80",
	} {
		want := &wire.Ping{Head: wire.Head{Type: wire.TypePing, ID: 1}}
		m, err := wire.Decode([]byte(ping(value)))
		if diff := cmp.Diff(wire.Message(want), m); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got)\n%s", name, err, diff)
		}
	}
}

func TestDecodeIgnoresUnknownFieldsOfATerminal(t *testing.T) {
	body := "\x82\xa4type\xa4exec\xa3tty\x83\xa1x\x91\x80\xa4rows\x18\xa6pixels\xcd\x04\x00"
	want := &wire.Exec{Head: wire.Head{Type: wire.TypeExec}, TTY: &wire.TTY{Rows: 24}}
	m, err := wire.Decode([]byte(body))
	if diff := cmp.Diff(wire.Message(want), m); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

// The names of this package's Go fields mean nothing on the wire.
func TestDecodeIgnoresGoNames(t *testing.T) {
	for name, body := range map[string]string{
		"Head": "\x83\xa4type\xa4ping\xa2id\x01\xa4Head\x82\xa2id\x63\xa4type\xa4exec",
		"ID":   "\x83\xa4type\xa4ping\xa2id\x01\xa2ID\x63",
		"head": "\x83\xa4type\xa4ping\xa2id\x01\xa4head\x81\xa2id\x63",
	} {
		want := &wire.Ping{Head: wire.Head{Type: wire.TypePing, ID: 1}}
		m, err := wire.Decode([]byte(body))
		if diff := cmp.Diff(wire.Message(want), m); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got)\n%s", name, err, diff)
		}
	}
}

func TestDecodeTakesTheLastOfEqualKeys(t *testing.T) {
	for body, want := range map[string]wire.Message{
		"\x84\xa4type\xa4ping\xa2id\x01\xa4type\xa4exec\xa2id\x02": &wire.Exec{Head: wire.Head{Type: wire.TypeExec, ID: 2}},
		"\x83\xa4type\xa4exec\xa4argv\x92\xa1a\xa1b\xa4argv\x91\xa1c": &wire.Exec{
			Head: wire.Head{Type: wire.TypeExec}, Argv: []string{"c"},
		},
		"\x83\xa4type\xa4exec\xa6stdout\x03\xa6stdout\x05": &wire.Exec{Head: wire.Head{Type: wire.TypeExec}, Stdout: 5},
		"\x82\xa4type\xa4done\xa4type\xa4nope":             &wire.Unknown{Head: wire.Head{Type: "nope"}},
	} {
		m, err := wire.Decode([]byte(body))
		if diff := cmp.Diff(want, m, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got)\n%s", body, err, diff)
		}
	}
}

func TestDecodeReturnsUnknownForUnknownTypes(t *testing.T) {
	for _, kind := range []string{"teleport", "EXEC", "exec ", "\xff", strings.Repeat("t", 31)} {
		for id := range uint64(2) {
			body := fmt.Sprintf("\x83\xa4type%s\xa2id%c\xa4argv\x05", fixstr(kind), rune(id))
			want := &wire.Unknown{Head: wire.Head{Type: wire.Type(kind), ID: id}}
			m, err := wire.Decode([]byte(body))
			if diff := cmp.Diff(wire.Message(want), m); err != nil || diff != "" {
				t.Errorf("%q: %v (-want +got)\n%s", kind, err, diff)
			}
		}
	}
}

func TestDecodeKnowsEveryType(t *testing.T) {
	for _, kind := range constantsOf(t, "Type") {
		m, err := wire.Decode([]byte("\x81\xa4type" + fixstr(kind)))
		if _, unknown := m.(*wire.Unknown); err != nil || unknown {
			t.Errorf("Decode(%s) = %#v, %v, want a message of a known type", kind, m, err)
		}
	}
}

// Keys are strings. The protocol leaves open how a decoder treats another type
// of key, but each either makes the message malformed or is ignored like an
// unknown field.
func TestDecodeSurvivesNonStringKeys(t *testing.T) {
	keys := []string{"\xc4\x01y", "\xcc\x01", "\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", "\x91\xa1y", "\x81\xa1y\xa1z"}
	for c := range 256 {
		keys = append(keys, string([]byte{byte(c)}))
	}
	for _, key := range keys {
		for _, body := range []string{
			"\x83\xa4type\xa4ping\xa2id\x01" + key + "\x05",
			"\x83\xa4type\xa4ping\xa2id\x01" + key,
			"\x83" + key + "\x05\xa4type\xa4ping\xa2id\x01",
		} {
			want := &wire.Ping{Head: wire.Head{Type: wire.TypePing, ID: 1}}
			m, err := wire.Decode([]byte(body))
			if err != nil && !errors.Is(err, wire.ErrMalformed) {
				t.Errorf("Decode(%q) = %v, want %v or none", body, err, wire.ErrMalformed)
			} else if err == nil && !cmp.Equal(wire.Message(want), m) {
				t.Errorf("Decode(%q) = %+v, want %+v", body, m, want)
			}
		}
	}
}
