package proc

// identity returns the account that a process of user's has.
func (s *Spawner) identity(user string) (account, error) {
	a, err := s.account(user)
	if err != nil {
		return account{}, err
	}
	credential, err := s.credential(a)
	if err != nil {
		return account{}, err
	}
	if credential == nil { // a process would stay what the agent is
		a = s.self
	}
	return a, nil
}
