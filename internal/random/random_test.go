package random_test

import (
	"bytes"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/random"
)

func TestReadFillsAllBytesAnewAtEachCall(t *testing.T) {
	const calls = 64
	var ever [256]byte // bits that have been set in one call at least
	var last []byte
	for range calls { // a bit that is 0 each time by chance: 1 in 2^53 runs
		b := make([]byte, len(ever))
		random.Read(b)
		if bytes.Equal(b, last) {
			t.Fatalf("the same bytes twice: %x", b)
		}
		for i := range b {
			ever[i] |= b[i]
		}
		last = b
	}
	for i, b := range ever {
		if b != 0xff {
			t.Errorf("byte %d was never filled: %08b in %d calls", i, b, calls)
		}
	}
}
