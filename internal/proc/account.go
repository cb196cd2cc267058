package proc

import "slices"

// An account is a user to run as.
type account struct {
	name, home, shell string
	uid, gid          uint32
	groups            []uint32 // supplementary
	notes             []Note
}

// members is the set of groups that the account is a member of.
func (a account) members() []uint32 {
	groups := append([]uint32{a.gid}, a.groups...)
	slices.Sort(groups)
	return slices.Compact(groups)
}
