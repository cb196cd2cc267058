package ttymode_test

import (
	"maps"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/ttymode"
)

func TestModesAreEncodedAsSSHDoes(t *testing.T) {
	m := ttymode.Modes{42: 1, 3: 8, 53: 0}
	b, err := ttymode.Encode(m)
	if want := "\x03\x00\x00\x00\x08\x2a\x00\x00\x00\x01\x35\x00\x00\x00\x00\x00"; err != nil || string(b) != want {
		t.Errorf("Encode = %q, %v, want %q", b, err, want)
	}
	if got, err := ttymode.Decode(b); err != nil || !maps.Equal(got, m) {
		t.Errorf("Decode = %v, %v, want %v", got, err, m)
	}
	if b, err := ttymode.Encode(nil); b != nil || err != nil {
		t.Errorf("no modes: %q, %v", b, err)
	}
	for _, opcode := range []uint8{0, 160, 255} {
		if b, err := ttymode.Encode(ttymode.Modes{opcode: 1}); err == nil {
			t.Errorf("opcode %d: %q, want an error", opcode, b)
		}
	}
}

func TestDecodeStopsAtWhatItCannotKnow(t *testing.T) {
	for name, test := range map[string]struct {
		encoded string
		want    ttymode.Modes // nil: an error
	}{
		"nothing":           {"", ttymode.Modes{}},
		"no end":            {"\x03\x00\x00\x00\x08", ttymode.Modes{3: 8}},
		"behind the end":    {"\x00\x03", ttymode.Modes{}},
		"an unknown opcode": {"\x9f\x00\x00\x00\x08\xa0\x03", ttymode.Modes{159: 8}},
		"twice":             {"\x03\x00\x00\x00\x08\x03\x00\x00\x00\x7f\x00", ttymode.Modes{3: 127}},
		"cut":               {"\x03\x00\x00\x00", nil},
		"too long":          {string(make([]byte, ttymode.MaxSize+1)), nil},
	} {
		got, err := ttymode.Decode([]byte(test.encoded))
		if (err == nil) != (test.want != nil) || !maps.Equal(got, test.want) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, test.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"", "\x00", "\x03\x00\x00\x00\x08\x2a\x00\x00\x00\x01\x00", "\x03\x00\x00\x00", "\x9f\xff\xff\xff\xff\xa0\x03",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ttymode.Decode(b)
		if err != nil {
			return
		}
		encoded, err := ttymode.Encode(m)
		if err != nil {
			t.Fatalf("%v of %q cannot be encoded: %v", m, b, err)
		}
		if again, err := ttymode.Decode(encoded); err != nil || !maps.Equal(again, m) {
			t.Errorf("%v has become %v, %v", m, again, err)
		}
	})
}
