package client

import "time"

// use marks the link as in use, until release. It fails if the link is
// ending.
func (l *link) use() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.lostLocked()
	}
	l.users++
	return nil
}

func (l *link) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users--
	l.used = time.Now()
	l.endUnusedLocked()
}

// usage returns whether the link is in use, and when it last was.
func (l *link) usage() (inUse bool, last time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.users > 0, l.used
}

// setEndingUnused is setEnding for a link that is not in use. fresh reports whether the
// link was not ending before.
func (l *link) setEndingUnused(reason error) (unused, fresh bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users > 0 {
		return false, false
	}
	return true, l.setEndingLocked(reason)
}

// retire lets nothing begin over the link any more, and ends it when nobody uses it.
func (l *link) retire(reason error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.setEndingLocked(reason) {
		l.retired = true
		l.endUnusedLocked()
	}
}

func (l *link) endUnusedLocked() {
	if l.retired && l.users == 0 {
		go l.end(nil) // ends with the connection
	}
}
