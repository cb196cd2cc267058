package files

import (
	"os/user"
	"strconv"
)

// owners remembers the names of users and groups, and their numbers. A name or a number that
// is not known is "" or 0, false.
type owners struct {
	users, groups     map[uint64]string
	userIDs, groupIDs map[string]uint64
}

func newOwners() owners {
	return owners{
		users: make(map[uint64]string), groups: make(map[uint64]string),
		userIDs: make(map[string]uint64), groupIDs: make(map[string]uint64),
	}
}

func (o *owners) user(id uint64) string {
	return remember(o.users, id, func() string {
		u, err := user.LookupId(strconv.FormatUint(id, 10))
		if err != nil {
			return ""
		}
		return u.Username
	})
}

func (o *owners) group(id uint64) string {
	return remember(o.groups, id, func() string {
		g, err := user.LookupGroupId(strconv.FormatUint(id, 10))
		if err != nil {
			return ""
		}
		return g.Name
	})
}

const noID = ^uint64(0)

func (o *owners) userID(name string) uint64 {
	return remember(o.userIDs, name, func() uint64 {
		u, err := user.Lookup(name)
		if err != nil {
			return noID
		}
		return parseID(u.Uid)
	})
}

func (o *owners) groupID(name string) uint64 {
	return remember(o.groupIDs, name, func() uint64 {
		g, err := user.LookupGroup(name)
		if err != nil {
			return noID
		}
		return parseID(g.Gid)
	})
}

func parseID(text string) uint64 {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return noID
	}
	return id
}

// ids returns the numbers that an entry gets: those of the names if they are known here.
func (o *owners) ids(f *Frame, numeric bool) (uid, gid int) {
	u, g := f.UID, f.GID
	if !numeric {
		if id := o.userID(f.User); f.User != "" && id != noID {
			u = id
		}
		if id := o.groupID(f.Group); f.Group != "" && id != noID {
			g = id
		}
	}
	return int(u), int(g)
}

// maxRemembered bounds what a peer can have remembered.
const maxRemembered = 10000

func remember[K comparable, V any](m map[K]V, key K, find func() V) V {
	if v, ok := m[key]; ok {
		return v
	}
	if len(m) == maxRemembered {
		clear(m)
	}
	v := find()
	m[key] = v
	return v
}
