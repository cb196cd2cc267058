package guest

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var entropy = []byte("0123456789abcdef")

func TestReseedWantsEnoughEntropyAndNotTooMuch(t *testing.T) {
	for _, n := range []int{0, MinEntropy - 1, MaxEntropy + 1} {
		if steps, err := Reseed(Seed{Entropy: make([]byte, n)}); steps != nil || !errors.Is(err, ErrEntropy) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	// A bad hostname keeps this machine from being reseeded.
	for n, want := range map[int]error{0: ErrHostname, 1: ErrHostname, MaxEntropy: ErrHostname, MaxEntropy + 1: ErrEntropy} {
		if _, err := Reseed(Seed{Entropy: make([]byte, n), AnyLength: true, Hostname: "-"}); !errors.Is(err, want) {
			t.Errorf("Reseed with %d bytes of any length = %v, want %v", n, err, want)
		}
	}
}

func TestReseedWithABadHostnameTakesNoStep(t *testing.T) {
	for _, name := range []string{"-a", "a-", ".a", "a.", "a..b", "a b", "a/b", "a\n", "\xff", "naïve", strings.Repeat("a", 65)} {
		if steps, err := Reseed(Seed{Entropy: entropy, Hostname: name}); steps != nil || !errors.Is(err, ErrHostname) {
			t.Errorf("Reseed with the hostname %q = %v, %v, want no steps, %v", name, steps, err, ErrHostname)
		}
	}
	for _, name := range []string{"a", "web-17", "Web.example.org", "0", strings.Repeat("a", 64)} {
		if err := checkHostname(name); err != nil {
			t.Error(err)
		}
	}
}

func TestClockThatIsAheadIsLeftUnlessItIsToGoBack(t *testing.T) {
	s := Seed{Clock: time.Now().Add(-time.Hour).Round(0), Received: time.Now()}
	if changed, note, err := s.setClock(); changed || err != nil || !strings.Contains(note, "ahead, not set back") {
		t.Errorf("setClock = %t, %q, %v, want false and a note that it is ahead", changed, note, err)
	}
}
