package session

import (
	"errors"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// How much of an exec's arguments the log has.
const (
	loggedArgs     = 64 // if it is to have them at all
	loggedArgBytes = 256
	loggedNames    = 64 // of environment variables
)

// A description is what every record about one exec or forward has. It holds on
// to no more of the request than that.
type description interface {
	add(e *zerolog.Event) *zerolog.Event
}

// describe returns the description of an exec or a forward.
func (c *conn) describe(m wire.Message) description {
	switch m := m.(type) {
	case *wire.Forward:
		about := describeForward(m)
		return &about
	case *wire.Listen:
		about := describeListen(m)
		return &about
	case *wire.Accept:
		about := describeAccept(m)
		return &about
	case *wire.Files:
		return c.server.describeFiles(m)
	case *wire.Attach:
		about := describeAttach(m)
		return &about
	default:
		about := describeExec(m.(*wire.Exec))
		return &about
	}
}

// aboutExec is the description of an exec.
type aboutExec struct {
	id    uint64
	argv0 string
	argc  int
	user  string
	tty   bool
}

func describeExec(m *wire.Exec) aboutExec {
	a := aboutExec{id: m.ID, argc: len(m.Argv), user: clip(m.User), tty: m.TTY != nil}
	if a.argc > 0 {
		a.argv0 = clip(m.Argv[0])
	}
	return a
}

func (a *aboutExec) add(e *zerolog.Event) *zerolog.Event {
	return e.Uint64("exec", a.id).Str("argv0", a.argv0).Int("argc", a.argc).Str("user", a.user).Bool("tty", a.tty)
}

// aboutForward is the description of a forward or an accept.
type aboutForward struct {
	id               uint64
	network, address string

	listen uint64 // of an accept: the listener
	client string // and who has connected; empty: nobody
}

func describeForward(m *wire.Forward) aboutForward {
	return aboutForward{id: m.ID, network: clip(m.Network), address: clipTo(m.Address, loggedArgBytes)}
}

func (a *aboutForward) add(e *zerolog.Event) *zerolog.Event {
	if a.listen != 0 {
		return e.Uint64("accept", a.id).Uint64("listen", a.listen).Str("client", a.client)
	}
	return e.Uint64("forward", a.id).Str("network", a.network).Str("address", a.address)
}

// recordRequested writes the record of an exec before its process exists: the process may
// kill the agent. It leaves out options that the host did not ask for.
func (e *execution) recordRequested() {
	record := e.label.add(e.audit.Info())
	if e.req.Dir != "" {
		record = record.Str("dir", clipTo(e.req.Dir, loggedArgBytes))
	}
	if len(e.req.Env) > 0 {
		record = record.Strs("env", namesOf(e.req.Env))
	}
	if e.req.ClearEnv {
		record = record.Bool("clear_env", true)
	}
	for _, limit := range [...]struct {
		name string
		n    int64
	}{{"memory", e.limits.Memory}, {"pids", e.limits.PIDs}, {"cpu_milli", e.limits.CPU}, {"timeout_ms", e.timeout.Milliseconds()}} {
		if limit.n != 0 {
			record = record.Int64(limit.name, limit.n)
		}
	}
	if e.share.keep {
		record = record.Bool("keep", true)
	}
	e.server.arguments(record, e.req).Msg("exec requested")
}

// namesOf returns the names of environment variables, without their values.
func namesOf(env []string) []string {
	names := make([]string, 0, min(len(env), loggedNames))
	for _, entry := range env[:cap(names)] {
		name, _, _ := strings.Cut(entry, "=")
		names = append(names, clip(name))
	}
	return names
}

// arguments adds an exec's arguments to a record, if the operator wants that.
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

// refused leaves a record of an exec or a forward that has not started, or counts it.
func (c *conn) refused(err error, what wire.Type, about description) {
	if !c.server.records.count(c.kindOfRecord(what, err)) {
		return
	}
	about.add(c.audit.Warn()).Str("kind", string(kindOf(err))).Str(zerolog.ErrorFieldName, clipTo(err.Error(), maxErrorText)).Msg(string(what) + " refused")
}

// recordDenied leaves a record of a request that the policy denies.
func (c *conn) recordDenied(m wire.Message) {
	verb, id := wire.About(m)
	if !c.server.records.count(c.kindOfRecord(verb, errDenied)) {
		return
	}
	record := c.audit.Warn().Str("verb", string(verb)).Uint64("id", id)
	switch m.(type) {
	case *wire.Exec, *wire.Forward, *wire.Listen, *wire.Accept, *wire.Attach, *wire.Files:
		record = c.describe(m).add(record)
	}
	record.Msg("request denied")
}

// kindOfRecord tells records apart that a host can cause as often as it likes: those
// of one host do not push out another one's, nor failures what was done.
func (c *conn) kindOfRecord(verb wire.Type, err error) string {
	outcome := "done"
	switch {
	case errors.Is(err, errDenied):
		outcome = "denied"
	case err != nil:
		outcome = string(kindOf(err))
	}
	return string(verb) + " " + outcome + " " + c.peer.Class
}

// carriedOut answers a signal, a resize or a kill, and leaves a record of it, or
// counts it. The first kill of an exec always has one.
func (c *conn) carriedOut(m wire.Message, err error) error { return c.carriedOutFor(m, err, false) }

func (c *conn) carriedOutFor(m wire.Message, err error, always bool) error {
	verb, id := wire.About(m)
	if always || c.server.records.count(c.kindOfRecord(verb, err)) {
		record := c.audit.Info()
		switch m := m.(type) {
		case *wire.Signal:
			record = record.Uint64("exec", m.Exec).Str("signal", clip(m.Signal))
			if len(m.Handle) > 0 {
				record = record.Hex("handle", m.Handle)
			}
		case *wire.Resize:
			record = record.Uint64("exec", m.Exec).Uint16("rows", m.Rows).Uint16("cols", m.Cols)
		case *wire.Kill:
			record = record.Uint64("exec", m.Exec).Hex("handle", m.Handle).Bool("force", m.Force)
		case *wire.Leave:
			record = record.Uint64("exec", m.Exec)
		case *wire.Release:
			record = record.Hex("handle", m.Handle)
		}
		if err != nil {
			record = record.Str("kind", string(kindOf(err))).Str(zerolog.ErrorFieldName, clipTo(err.Error(), maxErrorText))
		}
		record.Msg("exec " + string(verb))
	}
	return c.done(id, err)
}

const (
	// tallyTime is how long what was left out is counted before a record says
	// how much that was.
	tallyTime = 10 * time.Second

	// recordsOfAKind is how many records of one kind there are within tallyTime,
	// other than those of execs and forwards that are not denied.
	recordsOfAKind = 200
)
