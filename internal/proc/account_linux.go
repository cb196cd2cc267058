package proc

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// maxID is the largest uid or gid: the one above it means "no change" to the kernel.
const maxID = 1<<32 - 2

// ownAccount is the agent's own user. It always succeeds: a guest without
// /etc/passwd, or one that cannot be read, has one too.
func ownAccount() account {
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	a, ok, _ := findUser(func(e []string) bool { return e[2] == id(uid) })
	if !ok {
		a = account{name: id(uid), home: "/", shell: "/bin/sh"}
		if uid == 0 {
			a.name, a.home = "root", "/root"
		}
	}
	a.uid, a.gid = uid, gid
	groups, _ := syscall.Getgroups() // need not be those of /etc/group
	a.groups = nil
	for _, gid := range groups {
		a.groups = append(a.groups, uint32(gid))
	}
	return a
}

func id(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// account resolves "name", "uid", "name:group" or "uid:gid" against /etc/passwd
// and /etc/group. A uid without an entry has gid 0, as with docker exec, and
// no supplementary groups, and so has a user with an explicit group.
func (s *Spawner) account(user string) (account, error) {
	if user == "" {
		return s.self, nil
	}
	if err := checkNUL("user", user); err != nil {
		return account{}, err
	}
	name, group, hasGroup := strings.Cut(user, ":")
	a, err := accountOf(name)
	if err != nil {
		return account{}, err
	}
	if hasGroup {
		a.gid, err = gidOf(group)
		a.groups = nil
	}
	return a, err
}

func accountOf(name string) (account, error) {
	a, ok, err := findUser(func(e []string) bool { return e[0] == name })
	if ok || err != nil {
		return a, err
	}
	uid, err := parseID(name)
	if err != nil {
		return account{}, invalidError{fmt.Errorf("user %.64q: %w", name, err)}
	}
	a, ok, err = findUser(func(e []string) bool { return e[2] == id(uid) })
	if ok || err != nil {
		return a, err
	}
	return account{name: id(uid), home: "/", shell: "/bin/sh", uid: uid}, nil
}

func gidOf(group string) (uint32, error) {
	var gid uint32
	var err error
	found := false
	unread := eachLine("/etc/group", 3, func(e []string) bool {
		if e[0] == group {
			gid, err = parseID(e[2])
			found = true
		}
		return !found
	})
	if unread != nil {
		return 0, unread
	}
	if !found {
		gid, err = parseID(group)
	}
	if err != nil {
		return 0, invalidError{fmt.Errorf("group %.64q: %w", group, err)}
	}
	return gid, nil
}

func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("unknown name, and not a number")
	}
	if n > maxID {
		return 0, fmt.Errorf("an id is at most %d", uint32(maxID))
	}
	return uint32(n), nil
}

// findUser returns the first account of /etc/passwd that match takes, with its groups.
func findUser(match func(entry []string) bool) (account, bool, error) {
	var a account
	found := false
	err := eachLine("/etc/passwd", 7, func(e []string) bool {
		uid, err := parseID(e[2])
		gid, err2 := parseID(e[3])
		if err != nil || err2 != nil || !match(e) {
			return true
		}
		a = account{name: e[0], uid: uid, gid: gid, home: e[5], shell: e[6]}
		found = true
		return false
	})
	if !found || err != nil {
		return account{}, false, err
	}
	if a.shell == "" {
		a.shell = "/bin/sh" // passwd(5)
	}
	err = eachLine("/etc/group", 4, func(e []string) bool {
		if gid, err := parseID(e[2]); err == nil && slices.Contains(strings.Split(e[3], ","), a.name) {
			a.groups = append(a.groups, gid)
		}
		return true
	})
	return a, err == nil, err
}

// eachLine calls f with the fields of each line of a colon-separated file that
// has at least n, until f returns false. A file that is not there has none. One
// that cannot be read is an error: a user must not lose a group, or get gid 0,
// because the agent is out of descriptors.
func eachLine(path string, n int, f func(fields []string) bool) error {
	file, err := os.Open(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: %w", ErrNotPermitted, err)
	case err != nil:
		return startError(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20) // groups may have many members
	for lines.Scan() {
		if fields := strings.Split(lines.Text(), ":"); len(fields) >= n && !f(fields) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", path, startError(err))
	}
	return nil
}

// credential returns what the kernel is told, nil if nothing changes.
func (s *Spawner) credential(a account) (*syscall.Credential, error) {
	if a.uid == s.self.uid && a.gid == s.self.gid && (s.self.uid != 0 || slices.Equal(a.members(), s.self.members())) {
		return nil, nil
	}
	if s.self.uid != 0 {
		return nil, fmt.Errorf("%w: the agent runs as uid %d and cannot become uid %d, gid %d",
			ErrNotPermitted, s.self.uid, a.uid, a.gid)
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: a.groups}, nil
}
