package guest

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

func TestReseedWantsEnoughEntropyAndNotTooMuch(t *testing.T) {
	for _, n := range []int{0, MinEntropy - 1, MaxEntropy + 1} {
		if err := Reseed(make([]byte, n), false); !errors.Is(err, ErrEntropy) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// machine-id(5): 32 lower-case hexadecimal digits and a newline.
var wellFormed = regexp.MustCompile(`^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}\n$`)

func TestNewMachineIDIsWellFormedAndNew(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "etc", "machine-id")
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 3 { // where there is none, and where there is one
		if err := newMachineID(root); err != nil {
			t.Fatal(err)
		}
		id, err := os.ReadFile(path)
		if err != nil || !wellFormed.Match(id) || seen[string(id)] {
			t.Errorf("%q, %v", id, err)
		}
		seen[string(id)] = true
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o444 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestNewMachineIDThatCannotBeWrittenIsAnError(t *testing.T) {
	if err := newMachineID(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
