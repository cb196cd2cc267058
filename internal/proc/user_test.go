//go:build linux

package proc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

const passwd = `root:x:0:0:root:/root:/bin/bash
a line that is none
plain:x:1234:1235:Plain User,,,:%s:/bin/zsh
bare:x:1300:1301::/no/such/home:
4242:x:1400:1401::/:/bin/sh
huge:x:4294967295:1::/:/bin/sh
hugegroup:x:1500:4294967295::/:/bin/sh
+nis::::::
plain:x:6666:6666:second of the name:/:/bin/sh
`

const group = `root:x:0:
plain:x:1235:
audio:x:2001:plain,other
other:x:2003:plainer,explain
video:x:2002:other,plain
huge:x:4294967295:plain
short:x:2004
`

const whoami = `echo $(id -u) $(id -g) $(id -G); echo "$HOME $USER $LOGNAME $SHELL"; pwd`

func TestChildIsTheUserThatTheRequestNames(t *testing.T) {
	asRoot(t)
	if !inOwnProcess(t, withOwnMounts) {
		return
	}
	home := openDir(t)
	bind(t, "/etc/passwd", fmt.Sprintf(passwd, home))
	bind(t, "/etc/group", group)
	s := newSpawner(t)
	for _, test := range []struct{ user, ids, names, dir string }{
		{"plain", "1234 1235 1235 2001 2002", home + " plain plain /bin/zsh", home},
		{"1234", "1234 1235 1235 2001 2002", home + " plain plain /bin/zsh", home},
		{"plain:audio", "1234 2001 2001 1235 2002", home + " plain plain /bin/zsh", home},
		{"plain:0", "1234 0 0 1235 2001 2002", home + " plain plain /bin/zsh", home},
		{"1234:77", "1234 77 77 1235 2001 2002", home + " plain plain /bin/zsh", home},
		{"bare", "1300 1301 1301", "/no/such/home bare bare /bin/sh", "/"},
		{"4242", "1400 1401 1401", "/ 4242 4242 /bin/sh", "/"},
		{"5555", "5555 5555 5555", "/ 5555 5555 /bin/sh", "/"},
		{"5555:66", "5555 66 66", "/ 5555 5555 /bin/sh", "/"},
		{"4294967294:4294967294", "4294967294 4294967294 4294967294", "/ 4294967294 4294967294 /bin/sh", "/"},
	} {
		t.Run(test.user, func(t *testing.T) {
			got := output(t, s, proc.Spec{Argv: shell(whoami), User: test.user})
			if want := test.ids + "\n" + test.names + "\n" + test.dir + "\n"; got != want {
				t.Errorf("got  %q,\nwant %q", got, want)
			}
		})
	}
	for _, user := range []string{"huge", "hugegroup", "other", "plain:huge", "plain:nobody", "+nis"} {
		refused(t, s, proc.Spec{Argv: []string{"/bin/true"}, User: user}, proc.ErrInvalid)
	}
}

func TestChildRunsInAGuestWithoutAccounts(t *testing.T) {
	asRoot(t)
	if !inOwnProcess(t, withOwnMounts) {
		return
	}
	bind(t, "/etc/passwd", "")
	bind(t, "/etc/group", "")
	s := newSpawner(t)
	for user, want := range map[string]string{
		"":          "0 0 0\n/root root root /bin/sh\n",
		"1000:1000": "1000 1000 1000\n/ 1000 1000 /bin/sh\n",
	} {
		if got := output(t, s, proc.Spec{Argv: shell(whoami), User: user, Dir: "/"}); got != want+"/\n" {
			t.Errorf("%q: got %q, want %q", user, got, want)
		}
	}
}

// The agent's own groups may be others than those of its user in /etc/group.
func TestNamedUserHasNoneOfTheAgentsGroups(t *testing.T) {
	asRoot(t)
	if !inOwnProcess(t, asItIs) {
		return
	}
	if err := syscall.Setgroups([]int{0, 3001}); err != nil {
		t.Fatal(err)
	}
	s := newSpawner(t)
	for _, test := range []struct {
		user string
		has  bool
	}{{"", true}, {"root", false}, {"0", false}, {"0:0", false}, {"65534", false}} {
		groups := strings.Fields(output(t, s, proc.Spec{Argv: []string{"id", "-G"}, User: test.user}))
		if got := strings.Contains(" "+strings.Join(groups, " ")+" ", " 3001 "); got != test.has {
			t.Errorf("user %q: groups %v", test.user, groups)
		}
	}
}

func TestChildOfAnotherUserHasNoCapability(t *testing.T) {
	asRoot(t)
	status := output(t, newSpawner(t), proc.Spec{Argv: []string{"cat", "/proc/self/status"}, User: "65534:65534"})
	for _, name := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		if got := field(status, name); strings.Trim(got, "0") != "" {
			t.Errorf("%s of the child is %s, want 0", name, got)
		}
	}
}

func TestStartRefusesWhatIsClosedToTheUser(t *testing.T) {
	asRoot(t)
	s := newSpawner(t)
	for name, test := range map[string]struct {
		spec  proc.Spec
		class error
	}{
		"command":   {proc.Spec{Argv: []string{filepath.Join(commands(t, "closed"), "closed")}}, proc.ErrNotExecutable},
		"directory": {proc.Spec{Argv: []string{"/bin/true"}, Dir: t.TempDir()}, proc.ErrNotPermitted},
	} {
		t.Run(name, func(t *testing.T) {
			spec := test.spec
			spec.User = "65534:65534"
			refused(t, s, spec, test.class)
			spec.User = ""
			if r := run(t, s, spec); r.Code != 0 {
				t.Errorf("root gets %+v", r.Exit)
			}
		})
	}
}

// openDir makes a directory of root's that everybody can enter, unlike t.TempDir's.
func openDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "proc")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	return dir
}

func TestOrdinaryAgentBecomesNobodyElse(t *testing.T) {
	uid, gid := unix.Geteuid(), unix.Getegid()
	if uid == 0 {
		t.Skip("root can become anybody")
	}
	s := newSpawner(t)
	for _, user := range []string{"root", "0", "0:0", fmt.Sprintf("%d:0", uid), fmt.Sprint(uid - 1)} {
		refused(t, s, proc.Spec{Argv: []string{"/bin/true"}, User: user}, proc.ErrNotPermitted)
	}
	for _, user := range []string{"", fmt.Sprintf("%d:%d", uid, gid)} {
		if got := output(t, s, proc.Spec{Argv: []string{"id", "-u"}, User: user, Dir: "/"}); got != fmt.Sprintln(uid) {
			t.Errorf("user %q: uid %s", user, got)
		}
	}
}
