package client

import (
	"cmp"
	"slices"
	"time"
)

// PoolStats is how a [Pool] is doing, and what it has done since it was made. The fields of
// type uint64 are counters: they never become less.
type PoolStats struct {
	Targets int        `json:"targets"` // asked for of late
	Conns   int        `json:"conns"`   // open
	InUse   int        `json:"in_use"`  // of those, with commands running or requests under way
	Dialing int        `json:"dialing"` // attempts under way
	States  PoolStates `json:"states"`  // of the targets

	Dials         uint64 `json:"dials"`          // attempts
	DialErrors    uint64 `json:"dial_errors"`    // of those, failed; not those that were no longer needed
	Probes        uint64 `json:"probes"`         // of connections that were silent
	ProbeTimeouts uint64 `json:"probe_timeouts"` // of those, not answered in time
	Stale         uint64 `json:"stale"`          // connections closed because a newer one was answered and they were not, or for too many newer ones
	Evicted       uint64 `json:"evicted"`        // unused connections closed: idle, replaced, or for MaxConns
	Lost          uint64 `json:"lost"`           // connections that ended otherwise: by the agent, the VMM, or an error
	Full          uint64 `json:"full"`           // attempts that were not made, for MaxConns; none of Dials
	Retries       uint64 `json:"retries"`        // commands, and guest connections, tried over another connection
	Forgotten     uint64 `json:"forgotten"`      // connections closed by Forget

	// Bytes of connections that Get has returned, with all headers. Of agents that speak
	// version 1: of what is said to them, as version 2 would say it.
	ReceivedBytes uint64 `json:"received_bytes"`
	SentBytes     uint64 `json:"sent_bytes"`

	Commands CommandStats `json:"commands"`

	// LastError is that of the latest attempt that failed, or was not made for MaxConns, and
	// names its target; "": none has. LastErrorAt is when.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
}

// PoolStates is how many targets of a [Pool] are in each [TargetState].
type PoolStates struct {
	Connected  int `json:"connected"`
	Silent     int `json:"silent"`
	Connecting int `json:"connecting"`
	Failing    int `json:"failing"`
	Idle       int `json:"idle"`
}

// A TargetState is what a [Pool] knows of a target.
type TargetState string

// The states of a target. The set is closed.
const (
	TargetConnected  TargetState = "connected"  // there is a connection
	TargetSilent     TargetState = "silent"     // there is one over which a probe was not answered: a paused VM, or a dead connection
	TargetConnecting TargetState = "connecting" // there is none; the first attempt is under way
	TargetFailing    TargetState = "failing"    // there is none, and the last attempt failed
	TargetIdle       TargetState = "idle"       // there is none, and nobody wants one
)

// TargetStats is how a target of a [Pool] is doing.
type TargetStats struct {
	Target string      `json:"target"`
	State  TargetState `json:"state"`
	Conns  int         `json:"conns"`           // open; more than one: replaced ones are kept for their commands
	InUse  int         `json:"in_use"`          // of those
	Hello  *Hello      `json:"hello,omitempty"` // the agent's, over the current connection; nil: there is none

	Failures  int       `json:"failures"`             // attempts in a row, connections that were of no use included
	LastError string    `json:"last_error,omitempty"` // of the latest of them
	RetryAt   time.Time `json:"retry_at,omitzero"`    // before which there is no other
}

// Stats returns a snapshot. Its cost grows with the number of targets; it asks none of them.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.counts
	s.Targets, s.Conns, s.Dialing = len(p.members), len(p.open), p.dialing
	for l := range p.open {
		if inUse, _ := l.usage(); inUse {
			s.InUse++
		}
	}
	for _, m := range p.members {
		*s.States.of(m.stateLocked())++
	}
	for l := range p.watched {
		s.addTraffic(l)
	}
	s.Commands = p.commands.stats()
	return s
}

// Targets returns a snapshot of each target that was asked for of late, in the order of
// their names.
func (p *Pool) Targets() []TargetStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]TargetStats, 0, len(p.members))
	for _, m := range p.members {
		all = append(all, m.statsLocked())
	}
	slices.SortFunc(all, func(a, b TargetStats) int { return cmp.Compare(a.Target, b.Target) })
	return all
}

// statsLocked is called with mu held.
func (m *member) statsLocked() TargetStats {
	m.backing.settle(&m.pool.config, m.target)
	s := TargetStats{Target: m.target, State: m.stateLocked(), Failures: m.backing.inARow(), LastError: m.backing.lastError()}
	if m.backing.wait() > 0 {
		s.RetryAt = m.backing.retryAt
	}
	if m.current != nil {
		s.Hello = new(m.current.hello.clone())
	}
	for _, l := range m.linksLocked() {
		s.Conns++
		if inUse, _ := l.usage(); inUse {
			s.InUse++
		}
	}
	return s
}

// stateLocked is called with mu held.
func (m *member) stateLocked() TargetState {
	l := m.current
	connected := l != nil && !l.hasEnded()
	switch {
	case connected && l.old != nil && m.backing.failure != nil: // version 1 has no connection that would end
		return TargetFailing
	case connected && !m.silent.IsZero() && !l.mux.Heard().After(m.silent):
		return TargetSilent
	case connected:
		return TargetConnected
	case m.backing.failure != nil:
		return TargetFailing
	case m.search != nil:
		return TargetConnecting
	default:
		return TargetIdle
	}
}

func (s *PoolStates) of(state TargetState) *int {
	switch state {
	case TargetConnected:
		return &s.Connected
	case TargetSilent:
		return &s.Silent
	case TargetConnecting:
		return &s.Connecting
	case TargetFailing:
		return &s.Failing
	default:
		return &s.Idle
	}
}

func (s *PoolStats) addTraffic(l *link) {
	received, sent := l.mux.Traffic()
	s.ReceivedBytes += received
	s.SentBytes += sent
}

func (p *Pool) count(counter *uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*counter++
}
