package proc

// An Identity is what the kernel goes by when a user opens or connects to
// something.
type Identity struct {
	UID, GID uint32

	// Groups are all groups of the user, sorted, the primary one included:
	// initgroups(3), and the explicit group of "name:group".
	Groups []uint32
}

// Identity looks up a user as [Spawner.Start] does for Spec.User. The lists of users and
// groups are read at each call. The errors are those of Start: [ErrInvalid] if there is
// no such user or group, and [ErrNotPermitted] if the agent cannot become it. The error
// is [ErrResources] if the guest's name services do not answer within 2 seconds.
func (s *Spawner) Identity(user string) (Identity, error) {
	a, err := s.identity(user)
	if err != nil {
		return Identity{}, err
	}
	return Identity{UID: a.uid, GID: a.gid, Groups: a.members()}, nil
}
