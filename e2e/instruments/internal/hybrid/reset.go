//go:build linux

package hybrid

import (
	"encoding/binary"
	"slices"
	"time"
)

const (
	eventPatience = 2 * time.Second
	eventPoll     = time.Millisecond
)

// transportReset is what a guest sees after a restore from a snapshot: every connection
// has gone on the host's side, with no packet about any of them, and one event reports
// it.
//
// The guest resets whatever is connected when it gets to the event, including what
// was connected a moment before. So new clients wait until it has, which
// Firecracker does not do.
func (s *session) transportReset() {
	hold := make(chan struct{})
	dropped := s.dropAll(hold)

	q := s.queue[queueEvent]
	q.Lock()
	s.resets++
	running := q.RunningLocked()
	q.Unlock()
	s.resetCount.Add(1)
	if running {
		s.flushEvents()
		taken := s.awaitEventsTaken()
		s.Logf("transport reset: dropped %d connections, event sent, taken by the guest: %v", dropped, taken)
	} else {
		s.Logf("transport reset: dropped %d connections; no event: QEMU keeps the event queue, or the driver is not up", dropped)
	}

	s.mu.Lock()
	if s.hold == hold {
		s.hold = nil
	}
	s.mu.Unlock()
	close(hold)
}

// dropAll drops every connection without a word to the guest, and holds new
// clients until hold is closed. It returns how many connections there were.
func (s *session) dropAll(hold chan struct{}) int {
	s.mu.Lock()
	conns := s.conns
	s.conns = map[connKey]*conn{}
	if !s.Firecracker {
		s.hold = hold
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.kill()
	}
	rx := s.queue[queueReceive]
	rx.Lock()
	defer rx.Unlock()
	s.control = slices.DeleteFunc(s.control, func(p control) bool { return p.conn != nil && p.conn.dead.Load() })
	s.receiveCond.Broadcast()
	return len(conns)
}

// awaitEventsTaken waits until the driver has put the event buffers back, which it
// does after it has handled them.
func (s *session) awaitEventsTaken() bool {
	poll := time.NewTicker(eventPoll)
	defer poll.Stop()
	for deadline := time.Now().Add(eventPatience); !s.eventsTaken(); <-poll.C {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

func (s *session) eventsTaken() bool {
	q := s.queue[queueEvent]
	q.Lock()
	defer q.Unlock()
	return s.resets == 0 && (!q.RunningLocked() || q.HeldLocked() >= s.eventBuffers)
}

// flushEvents sends the events that wait, as far as there are buffers.
func (s *session) flushEvents() {
	q := s.queue[queueEvent]
	q.Lock()
	defer q.Unlock()
	if q.RunningLocked() && s.eventBuffers == 0 {
		s.eventBuffers = q.HeldLocked()
	}
	for s.resets > 0 && q.RunningLocked() {
		chain, ok, err := q.PopLocked()
		if err != nil {
			s.failLocked(q, err)
			return
		}
		if !ok {
			q.EnableNotifyLocked()
			if q.EmptyLocked() {
				break
			}
			continue
		}
		event := binary.LittleEndian.AppendUint32(nil, eventTransportReset)
		q.PushLocked(chain, chain.Write(event, 0))
		s.resets--
	}
	q.SignalLocked()
}
