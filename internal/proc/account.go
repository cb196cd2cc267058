package proc

import "slices"

// An account is a user to run as.
type account struct {
	name, home, shell string
	uid, gid          uint32
	groups            []uint32 // supplementary; the primary one may be among them
	notes             []Note
}

// members is the set of groups that the account is a member of, the primary one
// included, as initgroups(3) gives it to a process. Without the primary one a process
// could leave it by executing a setgid program, and then read files that shut the
// group out.
func (a account) members() []uint32 {
	groups := append([]uint32{a.gid}, a.groups...)
	slices.Sort(groups)
	return slices.Compact(groups)
}
