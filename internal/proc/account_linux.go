package proc

import (
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

// defaultShell is a user's whose entry names none, passwd(5).
const defaultShell = "/bin/sh"

// maxGroups is how many groups a user may be a member of: NGROUPS_MAX of the kernel's,
// less the primary one and that of a request.
const maxGroups = 65536 - 2

// The guest's own lists of users and groups.
const (
	passwdFile = "/etc/passwd"
	groupFile  = "/etc/group"
)

// ownAccount is the agent's own user. It always succeeds: a guest without
// /etc/passwd, or one that cannot be read, has one too.
func ownAccount() account {
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	a, ok, _ := findUser(func(a *account) bool { return a.uid == uid })
	if !ok {
		a = account{name: id(uid), home: "/", shell: defaultShell}
		if uid == 0 {
			a.name, a.home = "root", "/root"
		}
	}
	a.uid, a.gid = uid, gid
	groups, _ := syscall.Getgroups() // need not be those of /etc/group
	for _, gid := range groups {
		a.groups = append(a.groups, uint32(gid))
	}
	return a
}

func id(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// account resolves "name", "uid", "name:group" or "uid:gid" by /etc/passwd, /etc/group
// and getent(1), as initgroups(3) does. A uid without an entry has a gid that is equal
// to it and no other groups. An explicit group becomes the primary one: see [account.as].
func (s *Spawner) account(user string) (account, error) {
	if user == "" {
		return s.self, nil
	}
	if err := checkNUL("user", user); err != nil {
		return account{}, err
	}
	name, group, hasGroup := strings.Cut(user, ":")
	a, err := s.accountOf(name)
	if err != nil || !hasGroup {
		return a, err
	}
	gid, err := s.gidOf(group)
	return a.as(gid), err
}

// accountOf looks name up as a name and then as a uid.
func (s *Spawner) accountOf(name string) (account, error) {
	a, ok, err := loginOf(func(a *account) bool { return a.name == name })
	if ok || err != nil {
		return a, err
	}
	uid, notUID := parseID(name)
	if notUID == nil {
		a, ok, err = loginOf(func(a *account) bool { return a.uid == uid })
		if ok || err != nil {
			return a, err
		}
	}
	if !errors.Is(notUID, errIDTooLarge) {
		a, ok, err = s.askForUser(name, uid, notUID == nil)
	}
	switch {
	case ok || err != nil:
		return a, err
	case notUID != nil:
		return account{}, invalidError{fmt.Errorf("user %.64q: %w", name, notUID)}
	}
	return unknownAccount(uid), nil
}

// gidOf looks group up as a name and then as a gid.
func (s *Spawner) gidOf(group string) (uint32, error) {
	gid, ok, err := findGroup(group)
	if ok || err != nil {
		return gid, err
	}
	gid, notGID := parseID(group)
	if notGID == nil {
		return gid, nil
	}
	if !errors.Is(notGID, errIDTooLarge) {
		if gid, ok, err = s.askForGroup(group); ok || err != nil {
			return gid, err
		}
	}
	return 0, invalidError{fmt.Errorf("group %.64q: %w", group, notGID)}
}

var errIDTooLarge = fmt.Errorf("an id is at most %d", uint32(maxID))

func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	switch {
	case errors.Is(err, strconv.ErrRange) || err == nil && n > maxID:
		return 0, errIDTooLarge
	case err != nil:
		return 0, errors.New("unknown name, and not a number")
	}
	return uint32(n), nil
}

// loginOf returns the first account of /etc/passwd that match takes, with the groups
// that a login would give it.
func loginOf(match func(a *account) bool) (account, bool, error) {
	a, ok, err := findUser(match)
	if !ok || err != nil {
		return account{}, false, err
	}
	a.groups, err = groupsOf(a.name)
	return a, err == nil, err
}

// findUser returns the first account of /etc/passwd that match takes, without groups.
func findUser(match func(a *account) bool) (a account, ok bool, err error) {
	err = eachEntry(passwdFile, func(e *entries) (done bool, err error) {
		a, ok, err = e.user()
		ok = ok && match(&a)
		return ok, err
	})
	return a, ok && err == nil, err
}

// user reads a line of passwd(5). It is not ok if fields are missing or an id cannot be.
func (e *entries) user() (a account, ok bool, err error) {
	if ok, err = e.readFields(7); !ok || err != nil {
		return account{}, false, err
	}
	uid, err := parseID(string(e.fields[2]))
	gid, err2 := parseID(string(e.fields[3]))
	if err != nil || err2 != nil {
		return account{}, false, nil
	}
	a = account{name: string(e.fields[0]), uid: uid, gid: gid, home: string(e.fields[5]), shell: string(e.fields[6])}
	if a.shell == "" {
		a.shell = defaultShell
	}
	return a, true, nil
}

// group reads the beginning of a line of group(5), whose name is e.fields[0] then. It is
// not ok if fields are missing or the gid cannot be.
func (e *entries) group() (gid uint32, ok bool, err error) {
	if ok, err = e.readFields(3); !ok || err != nil {
		return 0, false, err
	}
	gid, notGID := parseID(string(e.fields[2]))
	return gid, notGID == nil, nil
}

// findGroup returns the gid of the first group of /etc/group with that name.
func findGroup(name string) (gid uint32, ok bool, err error) {
	err = eachEntry(groupFile, func(e *entries) (done bool, err error) {
		gid, ok, err = e.group()
		ok = ok && string(e.fields[0]) == name
		return ok, err
	})
	return gid, ok && err == nil, err
}

// groupsOf returns the groups of /etc/group that have name as a member.
func groupsOf(name string) (groups []uint32, err error) {
	err = eachEntry(groupFile, func(e *entries) (done bool, err error) {
		gid, ok, err := e.group()
		if err != nil || !ok {
			return false, err
		}
		for e.end != '\n' {
			member, err := e.next(",\n")
			if err != nil {
				return false, err
			}
			if string(member) == name {
				groups = append(groups, gid)
				return false, enough(name, groups)
			}
		}
		return false, nil
	})
	return groups, err
}

// enough returns an error if the kernel does not take as many groups. With some of
// them a user might read what the others shut out.
func enough(name string, groups []uint32) error {
	if len(groups) > maxGroups {
		return fmt.Errorf("%w: user %.64q is a member of more than %d groups", ErrResources, name, maxGroups)
	}
	return nil
}

// as returns the account with another primary group. It keeps all groups of a login: a
// file may shut one of them out.
func (a account) as(gid uint32) account {
	if !a.unknown() {
		a.groups = append(slices.Clip(a.groups), a.gid)
	}
	a.gid = gid
	return a
}

// unknown says whether no list of users has the account.
func (a account) unknown() bool { return slices.Contains(a.notes, NoteUnknownUID) }

// unknownAccount is the account of a uid that no list of users has. No process gets
// group 0, which is root's, because an entry is missing.
func unknownAccount(uid uint32) account {
	return account{
		name: id(uid), home: "/", shell: defaultShell, uid: uid, gid: uid, notes: []Note{NoteUnknownUID},
	}
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
	return &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: a.members()}, nil
}
