package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A home is the cgroup in which the agent makes its own.
type home struct {
	dir string
	why error // why no limits can be set below it; nil: they can
}

// findHome finds where the agent's cgroups go.
//
// Limits need controllers that the home hands on to the cgroups in it. The kernel
// allows that only while the home holds no process itself, unless it is the root
// (cgroup-v2.rst, "No Internal Process Constraint"). The agent does not move itself out
// of the way, because systemd starts a unit in the unit's own cgroup. If daemons of an
// agent live on below it, systemd could not start the agent again (EBUSY, status
// 219/CGROUP), and the VM would have no way in any more. So the agent must have been
// started one cgroup below the one that it may use.
func findHome() (home, error) {
	own, err := ownCgroup()
	if err != nil {
		return home{}, err
	}
	parent := filepath.Dir(own)
	switch {
	case isRoot(own):
		return home{dir: own}, nil
	case delegated(parent) && !isUnit(own):
		return home{dir: parent}, nil
	case delegated(own):
		return home{own, fmt.Errorf("the agent runs in its delegated cgroup %s itself: "+
			"start it in a child cgroup (DelegateSubgroup=agent in its unit, systemd 254 or later)", own)}, nil
	default:
		return home{own, fmt.Errorf("the agent runs in cgroup %s, which is not delegated: "+
			"add Delegate=yes and DelegateSubgroup=agent to its unit (systemd 254 or later)", own)}, nil
	}
}

// ownCgroup returns the directory of the cgroup v2 that the agent is in.
func ownCgroup() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	mount, ok := cgroup2Mount(mounts)
	if !ok {
		return "", errors.New("no cgroup v2 is mounted")
	}
	membership, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(membership)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return filepath.Join(mount, path), nil
		}
	}
	return "", errors.New("/proc/self/cgroup names no cgroup v2")
}

// cgroup2Mount finds where the whole hierarchy is mounted, proc_pid_mountinfo(5).
func cgroup2Mount(mountinfo []byte) (string, bool) {
	for line := range bytes.Lines(mountinfo) {
		before, after, ok := strings.Cut(string(line), " - ")
		fields := strings.Fields(before)
		if ok && strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 && fields[3] == "/" {
			return fields[4], true
		}
	}
	return "", false
}

// isRoot tells the root of the hierarchy from that of a cgroup namespace.
func isRoot(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "cgroup.type"))
	return errors.Is(err, os.ErrNotExist)
}

// delegated says whether systemd has marked a cgroup as given away, from
// version 251 by both (docs/CGROUP_DELEGATION.md in its source).
func delegated(dir string) bool {
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		var value [4]byte
		if n, err := unix.Getxattr(dir, name, value[:]); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

// isUnit says whether a cgroup is that of a unit of systemd's: what is delegated
// above it is that of another manager, as user@.service is.
func isUnit(dir string) bool {
	return strings.HasSuffix(dir, ".service") || strings.HasSuffix(dir, ".scope")
}
