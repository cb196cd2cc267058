package wire_test

import (
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// benchmarked are golden messages as they are common, and what they may cost to
// write and to read, in allocations: what was measured and two more.
var benchmarked = []struct {
	kind, file     string
	append, decode float64
}{
	{"exec", "exec-streams", 4, 26},
	{"exec-tty", "exec", 5, 50},
	{"started", "started", 4, 18},
	{"exited", "exited", 4, 28},
	{"ping", "ping", 4, 14},
	{"done", "done", 4, 14},
	{"error", "error-not-found", 4, 19},
}

func TestAllocationsOfAppendAndDecode(t *testing.T) {
	for _, test := range benchmarked {
		framed := readGolden(t, test.file).bytes
		m, err := wire.Decode(framed[frameHeader:])
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 0, 2*len(framed))
		ceiling(t, "Append "+test.kind, test.append, func() { _, _ = wire.Append(buf, m) })
		ceiling(t, "Decode "+test.kind, test.decode, func() { _, _ = wire.Decode(framed[frameHeader:]) })
	}
}

func ceiling(t *testing.T, what string, most float64, f func()) {
	t.Helper()
	got := testing.AllocsPerRun(1000, f)
	if got > most {
		t.Errorf("%s: %.0f allocations, want at most %.0f", what, got, most)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, test := range benchmarked {
		b.Run("type="+test.kind, func(b *testing.B) {
			m, err := wire.Decode(readGolden(b, test.file).bytes[frameHeader:])
			if err != nil {
				b.Fatal(err)
			}
			buf := frame(b, m)
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.Append(buf[:0], m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, test := range benchmarked {
		b.Run("type="+test.kind, func(b *testing.B) {
			framed := readGolden(b, test.file).bytes
			b.SetBytes(int64(len(framed)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.Decode(framed[frameHeader:]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
