package session

import (
	"slices"
	"strings"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/guest"
	"github.com/cocoonstack/cocoon-agent/internal/netid"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// reseed writes files and may make keys, which takes a while. Its goroutine ends
// by itself and is waited for by conn.end.
func (c *conn) reseed(m *wire.Reseed, network *netid.Network) error {
	received := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.server.isHeld() != nil:
		return c.done(m.ID, errUpgrade)
	case c.draining:
		return c.done(m.ID, errShutdown)
	}
	if c.server.reseeds.Add(1) > maxReseeds {
		c.server.reseeds.Add(-1)
		return c.done(m.ID, overLimit(maxReseeds, "reseed requests"))
	}
	c.running.Add(1)
	go func() {
		recorded := c.server.recording()
		c.audit.Info().Uint64("id", m.ID).Bool("machine_id", m.MachineID).Bool("clock", m.ClockNS != 0).
			Str("hostname", clip(m.Hostname)).Bool("ssh_keys", m.SSHKeys).Bool("network", network != nil).Msg("reseed requested")
		follow := func(err error) {
			if c.server.refusesWork() {
				err = nil // the log is held: see thaw
			}
			c.takeSteps(m, c.seed(m, network, received), err)
		}
		if settled, err := recorded(follow); settled {
			follow(err)
		}
	}()
	return nil
}

// takeSteps carries out a reseed that has its record, or answers with an error.
func (c *conn) takeSteps(m *wire.Reseed, seed guest.Seed, err error) {
	defer c.running.Done()
	var steps []guest.Step
	if err == nil {
		steps, err = c.server.reseed(seed)
	}
	clear(m.Entropy)
	c.server.reseeds.Add(-1)
	c.logSteps("reseed", steps, err)
	// A host that does not read is told by dispatch.
	if err != nil {
		_ = c.done(m.ID, err)
	} else {
		_ = c.answer(told(m.ID, steps))
	}
}

// seed returns what m asks for. Version 1 has no least length of entropy.
func (c *conn) seed(m *wire.Reseed, network *netid.Network, received time.Time) guest.Seed {
	seed := guest.Seed{
		Entropy: m.Entropy, AnyLength: c.old != nil, MachineID: m.MachineID, Hostname: m.Hostname, SSHKeys: m.SSHKeys,
		Received: received, ClockBack: m.ClockBack, Network: network,
	}
	if m.ClockNS != 0 {
		seed.Clock = time.Unix(0, int64(m.ClockNS))
	}
	return seed
}

// reseed takes the steps of one request after those of another, and wipes the
// entropy.
func (s *Server) reseed(seed guest.Seed) ([]guest.Step, error) {
	s.goOn("reseed", nil) // the VM was restored
	s.reseeding.Lock()
	defer s.reseeding.Unlock()
	defer clear(seed.Entropy)
	steps, err := guest.Reseed(seed)
	if err == nil {
		if hooks := s.runHooks("resume"); hooks != nil {
			steps = append(steps, *hooks)
		}
	}
	if err == nil && !slices.ContainsFunc(steps, failed) {
		s.resumes.Add(1)
		s.newAgentID()
		if s.Resumed != nil {
			s.Resumed()
		}
	}
	return steps, err
}

func failed(s guest.Step) bool { return s.Err != nil }

func (c *conn) logSteps(message string, steps []guest.Step, err error) {
	entry := c.audit.Info().Err(err)
	for _, s := range steps {
		switch {
		case s.Err != nil:
			entry = entry.Str(s.Name, inOneLine(s.Err))
		case s.Changed:
			entry = entry.Str(s.Name, "changed")
		default:
			entry = entry.Str(s.Name, "unchanged")
		}
	}
	entry.Msg(message)
}

// told makes the answer from the outcome of the steps. If any has failed, it is an
// error, of the kind of the first that has.
func told(id uint64, steps []guest.Step) wire.Message {
	all, kind, failed := outcomes(steps)
	if kind == "" {
		return &wire.Done{Head: wire.Head{ID: id}, Steps: all}
	}
	e := failure(id, kind, strings.Join(failed, "; "))
	e.Steps = all
	return e
}

// outcomes returns the steps as hosts get them, the kind of the first that has failed, and what is
// said of each that has.
func outcomes(steps []guest.Step) (all []wire.Step, kind wire.ErrorKind, failed []string) {
	all = make([]wire.Step, len(steps))
	for i, s := range steps {
		all[i] = wire.Step{Name: s.Name, Changed: s.Changed, Message: s.Note}
		if s.Err == nil {
			continue
		}
		all[i].Kind, all[i].Message = kindOf(s.Err), inOneLine(s.Err)
		if kind == "" {
			kind = all[i].Kind
		}
		failed = append(failed, s.Name+": "+all[i].Message)
	}
	return all, kind, failed
}

// inOneLine is the text of an error, which may be several errors.
func inOneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
