//go:build linux

package v1_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cocoonstack/cocoon-agent/internal/loadtest"
	"github.com/cocoonstack/cocoon-agent/internal/v1"
)

func TestDecodeTakesWhatVersion1Sends(t *testing.T) {
	for line, want := range map[string]v1.Frame{
		`{"type":"exit"}`:                                                 {Type: v1.TypeExit},
		`{"type":"exit","exit_code":-1}`:                                  {Type: v1.TypeExit, ExitCode: -1},
		`{"type":"started","pid":7}`:                                      {Type: v1.TypeStarted, PID: 7},
		`{"type":"stdout","data":"AA=="}` + "\r\n":                        {Type: v1.TypeStdout, Data: []byte{0}},
		`{"type":"stdout","data":null,"argv":null}`:                       {Type: v1.TypeStdout},
		`{"data":"AA==","type":"stdin","more":[{"a":[1e9,true,"\""]}]}`:   {Type: v1.TypeStdin, Data: []byte{0}},
		`{"type":"exit","type":"error","message":"x"}`:                    {Type: v1.TypeError, Message: "x"},
		`{"type":"exec","argv":["a","\u0000\ud800"],"env":{"A":"1=,[{"}}`: {Type: v1.TypeExec, Argv: []string{"a", "\x00\ufffd"}, Env: map[string]string{"A": "1=,[{"}},
	} {
		got, err := v1.Decode([]byte(line))
		if err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("Decode(%s) = %+v, %v, want %+v", line, got, err, want)
		}
	}
}

func TestDecodeRefusesTheRest(t *testing.T) {
	for _, line := range []string{
		"", "\n", "null", "[]", "{}", `{"type":7}`, `{"type":""}`, `{"type":"exit"`, `{"type":"exit"}}`, `{"type":"exit"} {}`,
		`{"type":"exit","exit_code":1.5}`, `{"type":"exit","exit_code":1e99}`, `{"type":"stdin","data":"A"}`, `{"type":"exec","argv":[1]}`,
		`{"type":"x","a":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "}",
		`{"type":"x","a":[` + strings.Repeat("0,", 1<<18) + "0]}",
	} {
		if f, err := v1.Decode([]byte(line)); !errors.Is(err, v1.ErrMalformed) {
			t.Errorf("Decode(%.40s) = %+v, %v, want %v", line, f, err, v1.ErrMalformed)
		}
	}
}

func TestCommasInStringsDoNotCountAsValues(t *testing.T) {
	arg := strings.Repeat(`,[{\",`, 1<<17)
	f, err := v1.Decode([]byte(`{"type":"exec","argv":["` + arg + `"]}`))
	if err != nil || f.Argv[0] != strings.ReplaceAll(arg, `\"`, `"`) {
		t.Errorf("Decode of a long argument = %v, want it as it is", err)
	}
}

// line is a line of n bytes, newline included.
func line(n int) string {
	const empty = `{"a":""}` + "\n"
	return `{"a":"` + strings.Repeat("x", n-len(empty)) + `"}` + "\n"
}

func TestLinesOfEveryLengthAreReadUpToTheLimit(t *testing.T) {
	const limit = 200_000
	var text strings.Builder
	sizes := []int{9, 10, 4095, 4096, 4097, 8192, 65_536, 65_537, 131_072, 9, limit - 1, limit}
	for _, n := range sizes {
		text.WriteString(line(n))
	}
	for name, in := range map[string]io.Reader{
		"at once": strings.NewReader(text.String()), "in halves": iotest.HalfReader(strings.NewReader(text.String())),
		"bytewise": iotest.OneByteReader(strings.NewReader(text.String())),
	} {
		r := v1.NewReader(in, 4096, limit, new(v1.Memory))
		for _, n := range sizes {
			if got, err := r.Line(); err != nil || string(got) != line(n) {
				t.Fatalf("%s: %d bytes of %d, %v", name, len(got), n, err)
			}
		}
		if _, err := r.Line(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v at the end", name, err)
		}
	}
}

func TestLineRejectsCutLongAndOtherLines(t *testing.T) {
	for text, want := range map[string]error{
		"":                        io.EOF,
		`{"type":"exit"}`:         io.ErrUnexpectedEOF,
		line(5000)[:4999]:         io.ErrUnexpectedEOF,
		line(10_001):              v1.ErrTooLong,
		line(20_000)[:15_000]:     v1.ErrTooLong,
		strings.Repeat("x", 5000): v1.ErrNotObject,
	} {
		r := v1.NewReader(strings.NewReader(text), 4096, 10_000, nil)
		if got, err := r.Line(); !errors.Is(err, want) {
			t.Errorf("%d bytes: %d bytes, %v, want %v", len(text), len(got), err, want)
		}
	}
}

func TestMemoryForLongLinesIsGivenBack(t *testing.T) {
	loadtest.Heavy(t)
	var memory v1.Memory
	long := line(v1.MaxLine)
	for range 5 {
		r := v1.NewReader(strings.NewReader(long+long+line(9)), 4096, v1.MaxLine, &memory)
		for range 3 {
			if _, err := r.Line(); err != nil {
				t.Fatal(err)
			}
		}
		r = v1.NewReader(strings.NewReader(long), 4096, v1.MaxLine, &memory)
		if _, err := r.Line(); err != nil {
			t.Fatal(err)
		}
		other := v1.NewReader(strings.NewReader(long), 4096, v1.MaxLine, &memory)
		if _, err := other.Line(); !errors.Is(err, v1.ErrMemory) {
			t.Errorf("a second line of 8 MiB at the same time: %v", err)
		}
		r.Close()
		other.Close()
	}
}

// The corpus is the transcripts.
func FuzzDecode(f *testing.F) {
	paths, err := filepath.Glob(transcripts)
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for l := range strings.Lines(string(text)) {
			f.Add([]byte(l[min(2, len(l)):]))
		}
	}
	f.Add([]byte(`{"type":"exec","argv":["a\u0000b","\ud800",""],"env":{"":"","A=":"\\\""},"more":[[{}]]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r := v1.NewReader(bytes.NewReader(text), 16, 1<<12, new(v1.Memory))
		for {
			frame, err := r.Next()
			if err == nil {
				roundTrips(t, frame)
				continue
			}
			known := []error{io.EOF, io.ErrUnexpectedEOF, v1.ErrMalformed, v1.ErrTooLong, v1.ErrNotObject}
			if !isOneOf(err, known) {
				t.Fatalf("error %v", err)
			}
			if !errors.Is(err, v1.ErrMalformed) {
				return
			}
		}
	})
}

func isOneOf(err error, known []error) bool {
	for _, k := range known {
		if errors.Is(err, k) {
			return true
		}
	}
	return false
}

// roundTrips checks that what a frame says is said by the frame that is written for it.
func roundTrips(t *testing.T, f *v1.Frame) {
	t.Helper()
	again, err := v1.Decode(v1.Encode(f))
	if err != nil {
		t.Fatalf("Decode(Encode(%+v)) = %v", f, err)
	}
	empty(f)
	empty(again)
	if !reflect.DeepEqual(f, again) {
		t.Fatalf("%+v\nbecomes %+v", f, again)
	}
}

// empty makes what is empty missing, as it is on the wire.
func empty(f *v1.Frame) {
	if len(f.Argv) == 0 {
		f.Argv = nil
	}
	if len(f.Env) == 0 {
		f.Env = nil
	}
	if len(f.Data) == 0 {
		f.Data = nil
	}
}
