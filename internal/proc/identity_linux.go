//go:build linux

package proc

// Identity temp.
type Identity struct {
	UID, GID uint32
	Groups   []uint32
}

// Identity temp.
func (s *Spawner) Identity(user string) (Identity, error) {
	a, err := s.account(user)
	if err != nil {
		return Identity{}, err
	}
	if _, err := s.credential(a); err != nil {
		return Identity{}, err
	}
	return Identity{a.uid, a.gid, a.members()}, nil
}
