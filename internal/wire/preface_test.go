package wire_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func readPreface(s string) error {
	return wire.ReadPreface(bufio.NewReader(strings.NewReader(s)))
}

func TestReadPrefaceTakesAnyEqualJSONObject(t *testing.T) {
	for name, line := range map[string]string{
		"exact":          wire.Preface,
		"carriage":       `{"type":"cocoon-agent/2"}` + "\r\n",
		"whitespace":     "\t { \"type\" :\t\"cocoon-agent/2\" } \n",
		"escapes":        `{"\u0074ype":"cocoon-agent\/2"}` + "\n",
		"more fields":    `{"features":["a",{"b":[]}],"type":"cocoon-agent/2","argv":null,"n":1e9}` + "\n",
		"last of equals": `{"type":"exec","type":"cocoon-agent/2"}` + "\n",
		"longest":        padded(wire.MaxPreface),
	} {
		if err := readPreface(line); err != nil {
			t.Errorf("ReadPreface of the line %q = %v, want nil", name, err)
		}
	}
}

// padded is a good preface of n bytes.
func padded(n int) string {
	return strings.TrimSuffix(wire.Preface, "\n") + strings.Repeat(" ", n-len(wire.Preface)) + "\n"
}

func TestReadPrefaceSaysWhichProtocolIsAskedFor(t *testing.T) {
	for _, test := range []struct{ line, protocol, message string }{
		{`{"type":"exec","argv":["ls"],"env":{"A":"b"}}`, "exec", `unknown protocol "exec": want "cocoon-agent/2"`},
		{`{"type":"reseed","data":"AAAA","regen_machine_id":true}`, "reseed", `unknown protocol "reseed": want "cocoon-agent/2"`},
		{`{"type":"cocoon-agent/3"}`, "cocoon-agent/3", `unknown protocol "cocoon-agent/3": want "cocoon-agent/2"`},
		{`{"type":"Cocoon-Agent/2"}`, "Cocoon-Agent/2", `unknown protocol "Cocoon-Agent/2": want "cocoon-agent/2"`},
		{`{"type":"cocoon-agent/2 "}`, "cocoon-agent/2 ", `unknown protocol "cocoon-agent/2 ": want "cocoon-agent/2"`},
		{`{"type":"a\n\u0000\u001b"}`, "a\n\x00\x1b", `unknown protocol "a\n\x00\x1b": want "cocoon-agent/2"`},
	} {
		err := readPreface(test.line + "\n")
		protocol, ok := errors.AsType[*wire.ProtocolError](err)
		if !ok || protocol.Type != test.protocol || err.Error() != test.message {
			t.Errorf("%s: %#v: %v, want %s", test.line, err, err, test.message)
		}
	}
}

func TestProtocolErrorClipsWhatThePeerSays(t *testing.T) {
	err := &wire.ProtocolError{Type: strings.Repeat("x", wire.MaxPreface)}
	if n := len(err.Error()); n > 150 {
		t.Errorf("%d bytes: %v", n, err)
	}
}

func TestReadPrefaceRejectsLinesWithoutType(t *testing.T) {
	for _, line := range []string{
		"", " ", "\x00", "SSH-2.0-OpenSSH_9.6\r", "GET / HTTP/1.1\r", "\x16\x03\x01\x02\x00\x01\x00",
		"{", "{}", "[]", "null", "true", "2", `"cocoon-agent/2"`, `["type","cocoon-agent/2"]`, `[{"type":"cocoon-agent/2"}]`,
		`{"type":}`, `{"type":null}`, `{"type":""}`, `{"type":2}`, `{"type":["cocoon-agent/2"]}`, `{"type":{"type":"cocoon-agent/2"}}`,
		`{"type":"cocoon-agent/2"`, `{"type":"cocoon-agent/2"}}`, `{"type":"cocoon-agent/2"} {}`, `{"type":"cocoon-agent/2"},`,
		`{'type':'cocoon-agent/2'}`, `{"type":"cocoon-agent/2",}`, `{"typ":"cocoon-agent/2"}`, strings.Repeat("[", wire.MaxPreface-1),
		"\xef\xbb\xbf" + `{"type":"cocoon-agent/2"}`,
	} {
		if err := readPreface(line + "\n"); err != wire.ErrPrefaceInvalid { //nolint:errorlint // is it exactly this one
			t.Errorf("ReadPreface(%.80q) = %v, want %v", line, err, wire.ErrPrefaceInvalid)
		}
	}
}

func TestReadPrefaceRefusesALineThatIsTooLong(t *testing.T) {
	for name, line := range map[string]string{
		"by a byte":       padded(wire.MaxPreface + 1),
		"without its end": strings.Repeat("x", wire.MaxPreface+1),
		"endless":         strings.Repeat(" ", 1<<20),
	} {
		for _, size := range []int{wire.MaxPreface, wire.MaxPreface + 1, 64 << 10} {
			r := bufio.NewReaderSize(strings.NewReader(line), size)
			if err := wire.ReadPreface(r); !errors.Is(err, wire.ErrPrefaceTooLong) {
				t.Errorf("%s, buffer of %d bytes: %v", name, size, err)
			}
		}
	}
}

func TestReadPrefaceCutAtEveryByte(t *testing.T) {
	for n := range len(wire.Preface) {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if err := readPreface(wire.Preface[:n]); err != want { //nolint:errorlint // is it exactly this one
			t.Errorf("cut after %d bytes: %v, want %v", n, err, want)
		}
	}
}

func TestReadPrefaceReturnsTheReadersOwnErrors(t *testing.T) {
	broken := errors.New("broken")
	r := bufio.NewReader(io.MultiReader(strings.NewReader(`{"type":`), iotest.ErrReader(broken)))
	if err := wire.ReadPreface(r); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// A host pipelines yamux frames behind its preface.
func TestReadPrefaceTakesNoByteBeyondTheLine(t *testing.T) {
	const behind = "\x00\x01\x00\x01\x00\x00\x00\x01\n{\"type\":\"x\"}\n"
	for _, line := range []string{wire.Preface, `{"type":"exec"}` + "\n", "nonsense\n", "\n"} {
		for name, source := range map[string]io.Reader{
			"in one piece": strings.NewReader(line + behind),
			"byte by byte": iotest.OneByteReader(strings.NewReader(line + behind)),
		} {
			r := bufio.NewReader(source)
			_ = wire.ReadPreface(r)
			if rest, err := io.ReadAll(r); string(rest) != behind || err != nil {
				t.Errorf("%q %s: what is left is %q, %v", line, name, rest, err)
			}
		}
	}
}

func TestErrorLineIsOneLineOfJSONThatComesBack(t *testing.T) {
	for _, message := range []string{"", "no", `"quoted"`, "two\nlines\r\n", "<html>&\u2028", "naïve 日本", "\x00\x1b[31m", strings.Repeat("x", 1<<16)} {
		line := wire.AppendRefusal([]byte("before"), "", message)
		rest, ok := bytes.CutPrefix(line, []byte("before"))
		if !ok || bytes.IndexByte(rest, '\n') != len(rest)-1 || !json.Valid(rest) {
			t.Errorf("%.80q: line %.80q", message, line)
		}
		if _, got, ok := wire.ParseRefusal(rest); got != message || !ok {
			t.Errorf("%.80q came back as %.80q, %t", message, got, ok)
		}
	}
}

func TestErrorLineReplacesInvalidUTF8(t *testing.T) {
	if _, got, ok := wire.ParseRefusal(wire.AppendRefusal(nil, "", "caf\xe9")); got != "caf\ufffd" || !ok {
		t.Errorf("ParseRefusal(AppendRefusal(%q)) = %q, %t, want %q, true", "caf\xe9", got, ok, "caf\ufffd")
	}
}

func TestParseRefusalReadsVersion1Frames(t *testing.T) {
	for line, want := range map[string]string{
		`{"type":"error","message":"unknown frame type"}` + "\n":                  "unknown frame type",
		`{"type":"error","message":"x","pid":0,"exit_code":1,"data":null}`:        "x",
		"  {\"message\":\"other order\",\"type\":\"error\"}\r\n":                  "other order",
		`{"type":"error"}` + "\n":                                                 "",
		`{"type":"error","message":"\ud83d\ude00 \u00e9","extra":{"type":"ok"}}`:  "😀 é",
		`{"type":"error","message":"` + strings.Repeat("m", 4000) + `"}` + "\r\n": strings.Repeat("m", 4000),
	} {
		if _, got, ok := wire.ParseRefusal([]byte(line)); got != want || !ok {
			t.Errorf("ParseRefusal(%.80q) = %.80q, %t, want %.80q, true", line, got, ok, want)
		}
	}
}

func TestParseRefusalRefusesAllElse(t *testing.T) {
	for _, line := range []string{
		"", "\n", "error", "null", "[]", "{}", `"error"`, `{"message":"x"}`, `{"type":"exit","message":"x"}`, `{"type":"Error"}`,
		`{"type":"error","message":5}`, `{"type":["error"]}`, `{"type":"error"`, `{"type":"error"}{"type":"error"}`,
		wire.Preface, "\x00\x01\x00\x01\x00\x00\x00\x01",
	} {
		if _, got, ok := wire.ParseRefusal([]byte(line)); got != "" || ok {
			t.Errorf("%q: taken for an error line that says %q", line, got)
		}
	}
}
