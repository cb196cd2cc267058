//go:build linux

package proc_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// logins are users of each sort.
const logins = `root:x:0:0:root:/root:/bin/sh
plain:x:1234:1235:Plain User,,,:/:/bin/sh
lone:x:1301:1302::/:/bin/sh
listed:x:1401:1402::/:/bin/sh
nogroup:x:1501:1599::/:/bin/sh
wheel:x:1601:0::/:/bin/sh
many:x:1701:1702::/:/bin/sh
4242:x:1801:1802::/:/bin/sh
twice:x:1901:1902::/:/bin/sh
twice:x:6666:6666::/:/bin/sh
alias:x:1234:1901::/:/bin/sh
`

// groupsOfLogins makes many a member of 300 groups.
func groupsOfLogins() string {
	var b strings.Builder
	b.WriteString(`root:x:0:
plain:x:1235:
audio:x:2001:plain,other
plainer:x:2002:plainer,explain,xplain
video:x:2003:other,plain
listed:x:1402:listed
again:x:2004:listed,listed
again:x:2004:listed
staff:x:2005:4242,nogroup,twice,root,wheel,alias
`)
	for gid := range 300 {
		fmt.Fprintf(&b, "g%d:x:%d:first,many,last\n", gid, 3000+gid)
	}
	return b.String()
}

// ids are what the kernel knows of a process's user.
const ids = "grep -E '^(Uid|Gid|Groups):' /proc/self/status"

func TestLoginHasTheGroupsOfSetprivAndSu(t *testing.T) {
	asRoot(t)
	if !inOwnProcess(t, withOwnMounts) {
		return
	}
	suWorks := exec.Command("su", "-s", "/bin/sh", "-c", "true", "root").Run() == nil // not without PAM's files
	if !suWorks {
		t.Log("su(1) does not work here: not compared with it")
	}
	bind(t, "/etc/passwd", logins)
	bind(t, "/etc/group", groupsOfLogins())
	bindShadow(t)
	s := newSpawner(t)
	for _, test := range []struct{ user, name, gid string }{
		{"root", "root", "0"},
		{"plain", "plain", "1235"},
		{"1234", "plain", "1235"},
		{"lone", "lone", "1302"},
		{"listed", "listed", "1402"},
		{"nogroup", "nogroup", "1599"},
		{"wheel", "wheel", "0"},
		{"many", "many", "1702"},
		{"4242", "4242", "1802"},
		{"twice", "twice", "1902"},
		{"alias", "alias", "1901"},
		{"plain:video", "plain", "2003"},
		{"plain:root", "plain", "0"},
		{"lone:77", "lone", "77"},
		{"lone:lone", "", ""}, // there is no such group
	} {
		t.Run(test.user, func(t *testing.T) {
			spec := proc.Spec{Argv: shell(ids), User: test.user, Dir: "/"}
			if test.name == "" {
				refused(t, s, spec, proc.ErrInvalid)
				return
			}
			got := output(t, s, spec)
			if !slices.Equal(groupsIn(got), slices.Compact(groupsIn(got))) {
				t.Errorf("a group twice: %s", got)
			}
			args := []string{"--reuid", test.name, "--regid", test.gid, "--init-groups", "/bin/sh", "-c", ids}
			wantIDs(t, got, command(t, "setpriv", args...))
			if !suWorks || strings.Contains(test.user, ":") {
				return // su -g takes the group of the login away
			}
			wantIDs(t, got, command(t, "su", "-s", "/bin/sh", "-c", ids, test.name))
		})
	}
}

// wantIDs wants the ids of another program's process. That may list a group twice, and
// setpriv leaves a primary group out that is not the login's.
func wantIDs(t *testing.T, got, want string) {
	t.Helper()
	groups := append(groupsIn(want), strings.Fields(field(want, "Gid"))[0])
	slices.Sort(groups)
	have := groupsIn(got)
	slices.Sort(have)
	if field(got, "Uid") != field(want, "Uid") || field(got, "Gid") != field(want, "Gid") ||
		!slices.Equal(have, slices.Compact(groups)) {
		t.Errorf("ids of the process:\n%swant:\n%s", got, want)
	}
}

func groupsIn(status string) []string { return strings.Fields(field(status, "Groups")) }

// bindShadow lets PAM's su become the users of logins.
func bindShadow(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/etc/shadow"); err != nil {
		return
	}
	var shadow strings.Builder
	for line := range strings.Lines(logins) {
		name, _, _ := strings.Cut(line, ":")
		shadow.WriteString(name + ":*:19000:0:99999:7:::\n")
	}
	bind(t, "/etc/shadow", shadow.String())
}

// command runs a program of the machine's.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = "/"
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatalf("run %s %q: %v", name, args, err)
	}
	return string(out)
}

// A group that may not read a file must not read it by way of a setgid program, which
// takes the place of the primary group: CVE-2022-36109.
func TestSetgidProgramDoesNotBypassADeniedGroup(t *testing.T) {
	asRoot(t)
	if !inOwnProcess(t, withOwnMounts) {
		return
	}
	bind(t, "/etc/passwd", logins)
	bind(t, "/etc/group", groupsOfLogins())
	dir := openDir(t)
	secret, program := dir+"/secret", dir+"/cat"
	cat, err := os.ReadFile("/bin/cat")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.WriteFile(secret, []byte("secret"), 0), os.Chown(secret, 0, 1235), os.Chmod(secret, 0o604),
		os.WriteFile(program, cat, 0), os.Chown(program, 0, 2999), os.Chmod(program, 0o755|os.ModeSetgid),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s := newSpawner(t)
	for user, code := range map[string]int{"plain": 1, "1234": 1, "plain:audio": 1, "1234:77": 1, "lone": 0, "1235": 1, "5555": 0} {
		if r := run(t, s, proc.Spec{Argv: []string{program, secret}, User: user}); r.Code != code {
			t.Errorf("%s: setgid cat exits with %d, want %d", user, r.Code, code)
		}
	}
}

func TestUnknownUIDIsNoted(t *testing.T) {
	asRoot(t)
	if !inOwnProcess(t, withOwnMounts) {
		return
	}
	bind(t, "/etc/passwd", logins)
	s := newSpawner(t)
	unknown := []proc.Note{proc.NoteUnknownUID}
	for user, want := range map[string][]proc.Note{"": nil, "plain": nil, "1234": nil, "1234:5": nil, "5555": unknown, "5555:66": unknown} {
		c := start(t, s, proc.Spec{Argv: []string{"true"}, User: user, Dir: "/"})
		c.finish(t)
		if got := c.Notes(); !slices.Equal(got, want) {
			t.Errorf("user %q: Notes = %q, want %q", user, got, want)
		}
	}
}

func TestLinesOfUsersAndGroupsHaveAnyLength(t *testing.T) {
	asRoot(t)
	if !inOwnProcess(t, withOwnMounts) {
		return
	}
	const length = 2 << 20
	members := strings.Repeat("somebody,", length/9)
	long := strings.Repeat("x", length)
	bind(t, "/etc/passwd", "gecos:x:1234:1235:"+long+":/home:/bin/zsh\n"+
		long+":x:1:1::/:\nlast:x:1236:1237::/last:") // and no end of the line
	bind(t, "/etc/group", "first:x:2001:last,"+members+"\nlong:x:2002:"+members+"gecos\n"+
		long+":x:2003:gecos\nother:x:2004:"+members+"\nend:x:2005:"+members+"last")
	s := newSpawner(t)
	for _, test := range []struct {
		user   string
		groups []uint32
	}{
		{"gecos", []uint32{1235, 2002, 2003}},
		{"1236", []uint32{1237, 2001, 2005}},
		{"last:end", []uint32{1237, 2001, 2005}},
		{"gecos:long", []uint32{1235, 2002, 2003}},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := s.Identity(test.user)
		runtime.ReadMemStats(&after)
		if err != nil || !slices.Equal(got.Groups, test.groups) {
			t.Errorf("Identity(%q) = %+v, %v, want groups %v", test.user, got, err, test.groups)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 256<<10 {
			t.Errorf("Identity(%q) allocates %d bytes for lines of %d bytes", test.user, n, length)
		}
	}
	want := "/home gecos /bin/zsh\n"
	if got := output(t, s, proc.Spec{Argv: shell(`echo $HOME $USER $SHELL`), User: "gecos"}); got != want {
		t.Errorf("environment %q, want %q", got, want)
	}
}

func TestMoreGroupsThanTheKernelTakes(t *testing.T) {
	asRoot(t)
	if !inOwnProcess(t, withOwnMounts) {
		return
	}
	var groups strings.Builder
	for gid := range 65534 {
		fmt.Fprintf(&groups, "g:x:%d:plain,lone\n", 100_000+gid)
	}
	bind(t, "/etc/passwd", logins)
	bind(t, "/etc/group", groups.String()+"one:x:200001:lone\n")
	s := newSpawner(t)
	most := output(t, s, proc.Spec{Argv: shell(ids), User: "plain:77", Dir: "/"})
	if n := len(groupsIn(most)); n != 65536 {
		t.Errorf("%d groups, want 65536", n)
	}
	refused(t, s, proc.Spec{Argv: []string{"true"}, User: "lone", Dir: "/"}, proc.ErrResources)
}
