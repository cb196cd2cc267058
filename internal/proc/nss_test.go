//go:build linux

package proc_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// services answers as glibc's getent(1) does for a user that /etc/passwd does not have.
const services = `#!/bin/sh
[ -z "$SECRET" ] || exit 9
case "$1 $2" in
"passwd ldap" | "passwd 7001") echo "ldap:*:7001:7002:From afar:/srv:/bin/ksh" ;;
"initgroups ldap") echo "ldap                  7002 7003 2001" ;;
"passwd alone" | "passwd 7101") echo "alone:*:7101:7102::/:" ;;
"initgroups alone") echo "alone                " ;;
"group distant") echo "distant:*:7003:ldap,plain" ;;
"passwd twoids") echo "twoids:x:4294967295:1::/:" ;;
"passwd 7301") echo "other:x:7302:1::/:" ;;
"passwd noise") echo "Cannot reach the server" ;;
"passwd broken") exit 3 ;;
"passwd half") echo "half:x:7401:7402::/:" ;;
"initgroups half") exit 3 ;;
"passwd strange") echo "strange:x:7501:7502::/:" ;;
"initgroups strange") echo "strange 7502 x" ;;
"passwd killed") kill -9 $$ ;;
*) exit 2 ;;
esac
`

// bindGetent puts a script in the place of getent(1).
func bindGetent(t *testing.T, script string, mode os.FileMode) {
	t.Helper()
	for _, path := range []string{"/usr/bin/getent", "/bin/getent"} {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if err := unix.Mount(file(t, filepath.Base(path), script, mode), path, "", unix.MS_BIND, ""); err != nil {
			t.Fatalf("mount over %s: %v", path, err)
		}
		t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
		return // /bin is /usr/bin
	}
	t.Skip("no getent to mount over")
}

// withAccounts returns a Spawner in a guest with some users and this getent.
func withAccounts(t *testing.T, getent string, mode os.FileMode) *proc.Spawner {
	t.Helper()
	bind(t, "/etc/passwd", logins)
	bind(t, "/etc/group", "audio:x:2001:plain,ldap\n")
	bindGetent(t, getent, mode)
	t.Setenv("SECRET", "of the agent's environment")
	return newSpawner(t)
}

func TestUsersOfNameServices(t *testing.T) {
	asRoot(t)
	if !inOwnProcess(t, withOwnMounts) {
		return
	}
	s := withAccounts(t, services, 0o755)
	for _, test := range []struct{ user, ids, names string }{
		{"ldap", "7001 7002 7002 2001 7003", "/srv ldap /bin/ksh"},
		{"7001", "7001 7002 7002 2001 7003", "/srv ldap /bin/ksh"},
		{"ldap:77", "7001 77 77 2001 7002 7003", "/srv ldap /bin/ksh"},
		{"alone", "7101 7102 7102", "/ alone /bin/sh"},
		{"plain", "1234 1235 1235 2001", "/ plain /bin/sh"}, // of the files
		{"plain:distant", "1234 7003 7003 1235 2001", "/ plain /bin/sh"},
		{"5555", "5555 5555 5555", "/ 5555 /bin/sh"},
		{"7301", "7301 7301 7301", "/ 7301 /bin/sh"}, // an answer about another uid
	} {
		t.Run(test.user, func(t *testing.T) {
			script := `echo $(id -u) $(id -g) $(id -G); echo $HOME $USER $SHELL`
			got := output(t, s, proc.Spec{Argv: shell(script), User: test.user, Dir: "/"})
			if want := test.ids + "\n" + test.names + "\n"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	for user, class := range map[string]error{
		"nobody-knows": proc.ErrInvalid, "plain:nobody-knows": proc.ErrInvalid, "twoids": proc.ErrInvalid,
		"noise": proc.ErrInvalid, "broken": proc.ErrResources, "half": proc.ErrResources,
		"strange": proc.ErrResources, "killed": proc.ErrResources,
	} {
		refused(t, s, proc.Spec{Argv: []string{"true"}, User: user, Dir: "/"}, class)
	}
}

// musl's getent has no initgroups.
func TestNameServicesWithoutInitgroups(t *testing.T) {
	asRoot(t)
	if !inOwnProcess(t, withOwnMounts) {
		return
	}
	s := withAccounts(t, strings.ReplaceAll(services, `"initgroups ldap") echo`, `"initgroups ldap") exit 1; echo`), 0o755)
	got, err := s.Identity("ldap")
	if want := []uint32{2001, 7002}; err != nil || !slices.Equal(got.Groups, want) {
		t.Errorf("Identity(ldap) = %+v, %v, want groups %v", got, err, want)
	}
}

func TestGuestWithoutGetent(t *testing.T) {
	asRoot(t)
	if !inOwnProcess(t, withOwnMounts) {
		return
	}
	s := withAccounts(t, "", 0o644)
	refused(t, s, proc.Spec{Argv: []string{"true"}, User: "ldap", Dir: "/"}, proc.ErrInvalid)
	refused(t, s, proc.Spec{Argv: []string{"true"}, User: "plain:distant", Dir: "/"}, proc.ErrInvalid)
	if got, err := s.Identity("5555"); err != nil || got.GID != 5555 {
		t.Errorf("Identity(5555) = %+v, %v, want gid 5555", got, err)
	}
}

func TestGetentIsNotAskedForOptions(t *testing.T) {
	asRoot(t)
	if !inOwnProcess(t, withOwnMounts) {
		return
	}
	asked := filepath.Join(openDir(t), "asked")
	s := withAccounts(t, fmt.Sprintf("#!/bin/sh\necho \"$@\" >>%s\nexit 2\n", asked), 0o755)
	for _, user := range []string{"-s", "--help", "", ":0", "4294967295", "+1", " 1", "\v1", "plain:-i", "plain:4294967295", strings.Repeat("x", 257)} {
		if got, err := s.Identity(user); user != "" && !errors.Is(err, proc.ErrInvalid) {
			t.Errorf("Identity(%.64q) = %+v, %v, want ErrInvalid", user, got, err)
		}
	}
	if text, err := os.ReadFile(asked); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("getent was asked for %q", text)
	}
}

// Name services that do not answer hold up those alone who ask them.
func TestNameServicesThatDoNotAnswer(t *testing.T) {
	asRoot(t)
	if !inOwnProcess(t, withOwnMounts) {
		return
	}
	proc.SetNSSTime(2 * time.Second)
	for name, script := range map[string]string{
		"silent":                   "#!/bin/sh\ntrap '' TERM HUP\nsleep 1000 & wait\nsleep 1000\n",
		"talks without end":        "#!/bin/sh\nexec yes 'ldap:x:1:1:/:'\n",
		"answers and does not end": "#!/bin/sh\necho 'ldap:x:1:1::/:'\nexec sleep 1000\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := withAccounts(t, script, 0o755)
			var asking sync.WaitGroup
			for range 20 { // more than may be asked at once
				asking.Go(func() { refused(t, s, proc.Spec{Argv: []string{"true"}, User: "ldap", Dir: "/"}, proc.ErrResources) })
			}
			for range 20 {
				if r := run(t, s, proc.Spec{Argv: []string{"true"}, User: "plain", Dir: "/"}); r.Code != 0 {
					t.Errorf("another user's command: %+v", r.Exit)
				}
			}
			asking.Wait()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			if m.HeapAlloc > 100<<20 {
				t.Errorf("%d bytes of heap are in use", m.HeapAlloc)
			}
		})
	}
}
