package guest

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sshGuest is a root in which sshd is installed, and ssh-keygen is a script.
func sshGuest(t *testing.T, keygen string) string {
	t.Helper()
	return tree(t, map[string]string{
		"usr/sbin/sshd": "", "usr/bin/ssh-keygen": "#!/bin/sh\n" + keygen,
		"etc/ssh/sshd_config": "config", "etc/ssh/ssh_host_ed25519_key": "old", "etc/ssh/ssh_host_ed25519_key.pub": "old",
		"etc/ssh/ssh_host_dsa_key": "old", "etc/ssh/ssh_host_ed25519_key-cert.pub": "old",
	})
}

// sshFiles are the texts of the files in etc/ssh.
func sshFiles(t *testing.T, root string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(root + "/etc/ssh/*")
	if err != nil {
		t.Fatal(err)
	}
	hidden, _ := filepath.Glob(root + "/etc/ssh/.*")
	texts := map[string]string{}
	for _, path := range append(paths, hidden...) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(path)] = string(text)
	}
	return texts
}

func TestNewHostKeysReplaceTheOldOnes(t *testing.T) {
	root := sshGuest(t, `[ "$1 $2" = "-A -f" ] && cd "$3/etc/ssh" && echo new >ssh_host_ed25519_key && echo new >ssh_host_ed25519_key.pub`)
	if changed, _, err := newHostKeys(root); !changed || err != nil {
		t.Fatal(changed, err)
	}
	want := map[string]string{"sshd_config": "config", "ssh_host_ed25519_key": "new\n", "ssh_host_ed25519_key.pub": "new\n"}
	if got := sshFiles(t, root); !maps.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestKeysThatCannotBeMadeLeaveTheOldOnes(t *testing.T) {
	for script, says := range map[string]string{
		"echo first; echo no space >&2; exit 1": "ssh-keygen -A: exit status 1: no space",
		"exit 0":                                "did not generate any keys",
	} {
		root := sshGuest(t, script)
		before := sshFiles(t, root)
		if _, _, err := newHostKeys(root); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("newHostKeys with %q = %v, want %q", script, err, says)
		}
		if got := sshFiles(t, root); !maps.Equal(got, before) {
			t.Errorf("%q: left %q", script, slices.Sorted(maps.Keys(got)))
		}
	}
}

func TestNoKeysAreMadeWithoutSSHD(t *testing.T) {
	changed, note, err := newHostKeys(t.TempDir())
	if changed || note != "sshd is not installed" || err != nil {
		t.Errorf("newHostKeys = %t, %q, %v, want false and a note", changed, note, err)
	}
}

func TestSSHDWithoutKeygenIsAnError(t *testing.T) {
	root := tree(t, map[string]string{"usr/sbin/sshd": ""})
	if _, _, err := newHostKeys(root); err == nil || !strings.Contains(err.Error(), "ssh-keygen is not installed") {
		t.Error(err)
	}
}

func TestReloadSparesOtherProcesses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	for _, text := range []string{"", strconv.Itoa(os.Getpid()), "none"} { // "": no file
		if text != "" {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := reload(file); (err != nil) != (text == "none") {
			t.Errorf("reload(%q) = %v, want an error: %t", text, err, text == "none")
		}
	}
}
