package proc

import (
	"fmt"
	"os"
)

// errUser says what a Windows agent does not do: it has nobody's password.
var errUser = fmt.Errorf("%w: a user: on Windows each command runs as the agent does", ErrUnsupported)

func ownAccount() account {
	return account{name: os.Getenv("USERNAME"), home: os.Getenv("USERPROFILE"), shell: os.Getenv("ComSpec")}
}

func (s *Spawner) account(user string) (account, error) {
	if user != "" {
		return account{}, errUser
	}
	return s.self, nil
}

func (s *Spawner) identity(user string) (account, error) { return s.account(user) }

// protect does nothing: Windows kills no program because there is no memory.
func protect() error { return nil }
