package handover_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/handover"
)

type document struct {
	Name  string
	Bytes handover.Range
}

// written returns a file with a document and some bytes.
func written(tb testing.TB) []byte {
	tb.Helper()
	w := new(handover.Writer)
	w.Put([]byte("other"))
	d := document{Name: "agent", Bytes: w.Put([]byte("out"), nil, []byte("put"))}
	var file bytes.Buffer
	if err := w.WriteTo(&file, d); err != nil {
		tb.Fatal(err)
	}
	return file.Bytes()
}

func TestReadReturnsWhatWasWritten(t *testing.T) {
	var d document
	r, err := handover.Read(bytes.NewReader(written(t)), &d)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, d.Bytes.Len)
	if err := r.Get(d.Bytes.At, got); err != nil || string(got) != "output" || d.Name != "agent" {
		t.Errorf("Get = %q, %v, of %+v, want output", got, err, d)
	}
	for _, at := range []int64{-1, 10, 1 << 62, 1<<63 - 1} {
		if err := r.Get(at, got); !errors.Is(err, handover.ErrState) {
			t.Errorf("Get at %d: %v, want %v", at, err, handover.ErrState)
		}
	}
}

func TestReadRejectsWhatIsCutShort(t *testing.T) {
	file := written(t)
	for n := range len(file) - len("otheroutput") {
		if _, err := handover.Read(bytes.NewReader(file[:n]), new(document)); !errors.Is(err, handover.ErrState) {
			t.Errorf("Read of %d bytes: %v, want %v", n, err, handover.ErrState)
		}
	}
}

// A later program may add to the document, or need one that knows more.
func TestReadKnowsWhichVersionsItCanTake(t *testing.T) {
	versions := len("cocoon-agent state\n")
	for _, test := range []struct {
		version, needs uint64
		ok             bool
	}{{1, 1, true}, {2, 1, true}, {1 << 40, 1, true}, {2, 2, false}, {1, 0, false}} {
		file := written(t)
		binary.LittleEndian.PutUint64(file[versions:], test.version)
		binary.LittleEndian.PutUint64(file[versions+8:], test.needs)
		if _, err := handover.Read(bytes.NewReader(file), new(document)); (err == nil) != test.ok {
			t.Errorf("Read of version %d, which needs %d: %v, want ok %t", test.version, test.needs, err, test.ok)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(written(f))
	f.Add([]byte("cocoon-agent state\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		var d document
		r, err := handover.Read(bytes.NewReader(file), &d)
		if err != nil {
			if !errors.Is(err, handover.ErrState) {
				t.Errorf("Read: %v, want an error that wraps %v", err, handover.ErrState)
			}
			return
		}
		_ = r.Get(d.Bytes.At, make([]byte, 10))
	})
}
