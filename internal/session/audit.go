//go:build linux

package session

import (
	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// How much of a command's arguments the log has, where it is to have them.
const (
	loggedArgs     = 64
	loggedArgBytes = 256
)

// describe returns what adds to a record which command it is about. It holds on
// to no more of the request than that.
func (s *Server) describe(m *wire.Exec) func(*zerolog.Event) *zerolog.Event {
	id, argc, user, tty := m.ID, len(m.Argv), clip(m.User), m.TTY != nil
	var argv0 string
	if argc > 0 {
		argv0 = clip(m.Argv[0])
	}
	return func(e *zerolog.Event) *zerolog.Event {
		return e.Uint64("exec", id).Str("argv0", argv0).Int("argc", argc).Str("user", user).Bool("tty", tty)
	}
}

// describeForward is describe for a forward.
func describeForward(m *wire.Forward) func(*zerolog.Event) *zerolog.Event {
	id, network, address := m.ID, clip(m.Network), clipTo(m.Address, loggedArgBytes)
	return func(e *zerolog.Event) *zerolog.Event {
		return e.Uint64("forward", id).Str("network", network).Str("address", address)
	}
}

// refused leaves a record of a task that has not started.
func (c *conn) refused(err error, what wire.Type, describe func(*zerolog.Event) *zerolog.Event) {
	describe(c.log.Warn()).Str("kind", string(kindOf(err))).Err(err).Msg(string(what) + " refused")
}

// arguments adds a command's arguments to a record, where the operator wants that.
func (s *Server) arguments(e *zerolog.Event, m *wire.Exec) *zerolog.Event {
	if !s.LogArgs {
		return e
	}
	argv := make([]string, 0, min(len(m.Argv), loggedArgs))
	for _, arg := range m.Argv[:cap(argv)] {
		argv = append(argv, clipTo(arg, loggedArgBytes))
	}
	return e.Strs("argv", argv)
}
