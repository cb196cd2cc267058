package guest

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// machine-id(5): 32 lower-case hexadecimal digits and a newline.
var wellFormed = regexp.MustCompile(`^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}\n$`)

// tree makes a root with the files, whose directories it makes too.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestNewMachineIDIsWellFormedAndNew(t *testing.T) {
	root := tree(t, map[string]string{"etc/os-release": ""})
	path := root + "/etc/machine-id"
	seen := map[string]bool{}
	for range 3 { // where there is none, and where there is one
		if changed, _, err := newMachineID(root, entropy); !changed || err != nil {
			t.Fatal(changed, err)
		}
		id, err := os.ReadFile(path)
		if err != nil || !wellFormed.Match(id) || seen[string(id)] {
			t.Errorf("the machine-id is %q, %v, want a new one", id, err)
		}
		seen[string(id)] = true
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o444 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 2 {
		t.Errorf("left behind: %v", left)
	}
}

func TestRandomnessOfKernelAndHostEachMakeANewID(t *testing.T) {
	seen := map[string]string{}
	for name, of := range map[string]struct {
		kernel  byte
		entropy string
	}{
		"no entropy":              {1, ""},
		"another kernel":          {2, ""},
		"entropy":                 {1, "0123456789abcdef"},
		"its last byte differs":   {1, "0123456789abcdeg"},
		"its second half alone":   {1, "89abcdef"},
		"longer than a key":       {1, "0123456789abcdef0123456789abcdef0"},
		"longer, the end differs": {1, "0123456789abcdef0123456789abcdef1"},
	} {
		id := string(stir([32]byte{of.kernel}, []byte(of.entropy)))
		if other, ok := seen[id]; ok || len(id) != 32 {
			t.Errorf("%s: %x, as with %s", name, id, other)
		}
		seen[id] = name
	}
}

func TestNewMachineIDThatCannotBeWrittenIsAnError(t *testing.T) {
	if changed, _, err := newMachineID(t.TempDir(), entropy); changed || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%t, error %v", changed, err)
	}
}

func TestBusIDIsRemovedIfItIsACopy(t *testing.T) {
	const name = "var/lib/dbus/machine-id"
	copied := tree(t, map[string]string{name: "old\n"})
	if changed, _, err := dropBusID(copied); !changed || err != nil {
		t.Errorf("a file: %t, %v", changed, err)
	}
	if _, err := os.Lstat(filepath.Join(copied, name)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if changed, note, err := dropBusID(copied); changed || note != "no such file" || err != nil {
		t.Errorf("no file: %t, %q, %v", changed, note, err)
	}
	if err := os.Symlink("/etc/machine-id", filepath.Join(copied, name)); err != nil {
		t.Fatal(err)
	}
	if changed, _, err := dropBusID(copied); changed || err != nil {
		t.Errorf("a symbolic link: %t, %v", changed, err)
	}
	if _, err := os.Lstat(filepath.Join(copied, name)); err != nil {
		t.Errorf("the link: %v", err)
	}
}

func TestRandomSeedIsRemoved(t *testing.T) {
	root := tree(t, map[string]string{"var/lib/systemd/random-seed": "state"})
	for _, want := range []bool{true, false} { // and again
		if changed, _, err := dropRandomSeed(root); changed != want || err != nil {
			t.Errorf("dropRandomSeed = %t, %v, want %t", changed, err, want)
		}
	}
	if left, _ := os.ReadDir(root + "/var/lib/systemd"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
