package guest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestHostsHaveTheName(t *testing.T) {
	const debian = "127.0.0.1\tlocalhost\n127.0.1.1\told.example.org old\n::1 localhost ip6-localhost\n"
	for name, test := range map[string]struct{ before, name, want string }{
		"first":           {debian, "web-17", debian + "127.0.1.1\tweb-17\t# cocoon-agent\n"},
		"with a domain":   {debian, "web.example.org", debian + "127.0.1.1\tweb.example.org web\t# cocoon-agent\n"},
		"renewed":         {debian + "127.0.1.1\tweb-16\t# cocoon-agent\n# end\n", "web-17", debian + "# end\n127.0.1.1\tweb-17\t# cocoon-agent\n"},
		"already there":   {debian, "OLD", debian},
		"in a comment":    {"127.0.0.1 localhost # web-17\n", "web-17", "127.0.0.1 localhost # web-17\n127.0.1.1\tweb-17\t# cocoon-agent\n"},
		"an address":      {"10.0.0.1 x\n", "10.0.0.1", "10.0.0.1 x\n127.0.1.1\t10.0.0.1 10\t# cocoon-agent\n"},
		"no last newline": {"127.0.0.1 localhost", "a", "127.0.0.1 localhost\n127.0.1.1\ta\t# cocoon-agent\n"},
		"empty":           {"", "a", "127.0.1.1\ta\t# cocoon-agent\n"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "hosts")
			if err := os.WriteFile(path, []byte(test.before), 0o600); err != nil {
				t.Fatal(err)
			}
			for i := range 2 { // the second time nothing is to be done
				renewed, err := renewHosts(path, test.name)
				if want := i == 0 && test.before != test.want; renewed != want || err != nil {
					t.Errorf("%d: renewed %v, %v, want %v", i, renewed, err, want)
				}
				if got, err := os.ReadFile(path); string(got) != test.want || err != nil {
					t.Errorf("%d: %q, %v, want %q", i, got, err, test.want)
				}
			}
		})
	}
}

func TestHostsAreNotMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	if renewed, err := renewHosts(path, "a"); renewed || err != nil {
		t.Errorf("%v, %v, want nothing", renewed, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is one: %v", err)
	}
}

func TestHostnameOfTheNextBoot(t *testing.T) {
	root := tree(t, map[string]string{"etc/hostname": "old\n", "etc/hosts": "127.0.0.1 localhost\n"})
	for i, want := range []bool{true, false} {
		if wrote, note, err := writeHostname(root, "new"); wrote != want || note != "" || err != nil {
			t.Errorf("%d: wrote %v, %q, %v, want %v", i, wrote, note, err, want)
		}
	}
	if text, err := os.ReadFile(root + "/etc/hostname"); string(text) != "new\n" || err != nil {
		t.Errorf("/etc/hostname has %q, %v, want %q", text, err, "new\n")
	}
	if _, _, err := writeHostname(t.TempDir(), "new"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without /etc: %v", err)
	}
}

func TestHostnameKeepsTheLinkOfHosts(t *testing.T) {
	root := tree(t, map[string]string{"srv/hosts": "127.0.0.1 localhost\n", "etc/hostname": "web\n"})
	if err := os.Symlink("../srv/hosts", root+"/etc/hosts"); err != nil {
		t.Fatal(err)
	}
	if wrote, note, err := writeHostname(root, "web"); !wrote || note != "" || err != nil {
		t.Errorf("writeHostname = %t, %q, %v", wrote, note, err)
	}
	if link, err := os.Readlink(root + "/etc/hosts"); link != "../srv/hosts" {
		t.Errorf("the link: %q, %v", link, err)
	}
	wantFile(t, root+"/srv/hosts", "127.0.0.1 localhost\n127.0.1.1\tweb\t# cocoon-agent\n", 0o755)
}
