//go:build linux

package v1_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func patiently(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), agenttest.Patience)
	tb.Cleanup(cancel)
	return ctx
}

// A transcript is one of testdata/v1.
type transcript struct {
	name        string
	host, agent []string // lines, with their newlines
}

const transcripts = "../../testdata/v1/*.txt"

func readTranscripts(tb testing.TB) []transcript {
	tb.Helper()
	paths, err := filepath.Glob(transcripts)
	if err != nil || len(paths) == 0 {
		tb.Fatalf("%v: no transcripts", err)
	}
	var all []transcript
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		t := transcript{name: strings.TrimSuffix(filepath.Base(path), ".txt")}
		for line := range strings.Lines(string(text)) {
			switch said := line[min(2, len(line)):]; line[0] {
			case '>':
				t.host = append(t.host, said)
			case '<':
				t.agent = append(t.agent, said)
			case '#':
			default:
				tb.Fatalf("%s: %q", path, line)
			}
		}
		all = append(all, t)
	}
	return all
}

func (t transcript) reseeds() bool { return strings.Contains(t.host[0], `"reseed"`) }

// A talk is what one side has said, without how it was cut.
type talk struct {
	frames         []v1.Frame // but those of data, and those that nobody knows
	stdin          []byte
	stdout, stderr []byte
}

func heard(tb testing.TB, lines []string) talk {
	tb.Helper()
	var t talk
	for _, line := range lines {
		f, err := v1.Decode([]byte(line))
		if err != nil {
			tb.Fatalf("%q: %v", line, err)
		}
		t.add(f)
	}
	return t
}

func (t *talk) add(f *v1.Frame) {
	switch f.Type {
	case v1.TypeStdin:
		t.stdin = append(t.stdin, f.Data...)
	case v1.TypeStdout:
		t.stdout = append(t.stdout, f.Data...)
	case v1.TypeStderr:
		t.stderr = append(t.stderr, f.Data...)
	case v1.TypeExec, v1.TypeReseed, v1.TypeStdinClose, v1.TypeStarted, v1.TypeExit, v1.TypeError:
		t.frames = append(t.frames, *f)
	}
}

// same says whether two sides have said the same, pids and messages aside.
func (t talk) same(other talk) bool {
	return bytes.Equal(t.stdin, other.stdin) && bytes.Equal(t.stdout, other.stdout) && bytes.Equal(t.stderr, other.stderr) &&
		slices.EqualFunc(t.frames, other.frames, func(a, b v1.Frame) bool {
			return a.Type == b.Type && a.ExitCode == b.ExitCode && slices.Equal(a.Argv, b.Argv) &&
				bytes.Equal(a.Data, b.Data) && a.RegenMachineID == b.RegenMachineID &&
				(a.PID == 0) == (b.PID == 0) && (a.Message == "") == (b.Message == "")
		})
}

func encode(data string) string { return base64.StdEncoding.EncodeToString([]byte(data)) }

func socketpair(tb testing.TB) (near, far net.Conn) {
	tb.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		if ends[i], err = net.FileConn(f); err != nil {
			tb.Fatal(err)
		}
		_ = f.Close()
		tb.Cleanup(func() { _ = ends[i].Close() })
	}
	return ends[0], ends[1]
}
