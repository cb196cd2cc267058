package mux

import "time"

// A deadline is when waiting ends. It is guarded by its stream's mu.
type deadline struct {
	at    time.Time   // zero: never
	timer *time.Timer // nil: none is needed
}

// past says whether the time has come.
func (d *deadline) past() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}

// SetReadDeadline makes a Read that is blocked at t, and every later one that
// would block, fail with os.ErrDeadlineExceeded. The zero time means never.
func (s *Stream) SetReadDeadline(t time.Time) { s.setDeadline(&s.readBy, t) }

// SetWriteDeadline makes a Write that waits at t for the peer to take more, and
// every later one, fail with os.ErrDeadlineExceeded. The stream can be written to
// afterwards. The zero time means never.
func (s *Stream) SetWriteDeadline(t time.Time) { s.setDeadline(&s.writeBy, t) }

func (s *Stream) setDeadline(d *deadline, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.stop()
	d.at, d.timer = t, nil
	if left := time.Until(t); !t.IsZero() && left > 0 {
		d.timer = time.AfterFunc(left, s.wake)
	}
	s.readable.Broadcast()
	s.writable.Broadcast()
}

// wake has those who wait look again. It takes mu, so that nobody is about to
// wait who has looked at the time just before.
func (s *Stream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readable.Broadcast()
	s.writable.Broadcast()
}
