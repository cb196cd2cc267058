package proc

// Identity looks up a user as [Spawner.Start] does for Spec.User, with the same
// errors: [ErrInvalid] if there is no such user or group, and [ErrNotPermitted] if
// the agent cannot become it. The lists of users and groups are read at each call.
func (s *Spawner) Identity(user string) (Identity, error) {
	a, err := s.account(user)
	if err != nil {
		return Identity{}, err
	}
	credential, err := s.credential(a)
	if err != nil {
		return Identity{}, err
	}
	if credential == nil { // a process would stay what the agent is
		a = s.self
	}
	return Identity{UID: a.uid, GID: a.gid, Groups: a.members()}, nil
}
