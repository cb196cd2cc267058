package mux

// outgoing is the frame of a stream that is on its way to the connection: one at
// a time. It is guarded by the stream's mu.
type outgoing struct {
	failed  error // why the latest one was not written
	sending bool
	unended bool // the end of this side's direction comes behind it

	interruptible bool
}

// Interruptible makes Close, and the time of [Stream.SetWriteDeadline], end a Write
// even while the connection takes no bytes, as that of a paused VM. A frame that is on
// its way is then written later, and counts as taken. It costs a copy and a goroutine
// for each frame. Interruptible comes before the first Write.
func (s *Stream) Interruptible() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interruptible = true
}

// Flush waits until what a Write that was interrupted has left behind has been
// handed to the connection, or that has ended.
func (s *Stream) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.sending {
		s.writable.Wait()
	}
}

// send writes a frame for which spend has made room.
func (s *Stream) send(body []byte, soon bool) error {
	if !s.interruptible { // set before there was a Write
		err := s.emit(body, soon)
		s.sent(err)
		return err
	}
	pool, _ := chunksOf(len(body))
	buf := pool.Get().(*[]byte)
	n := copy(*buf, body)
	go func() { // ends with the write, or the connection
		err := s.emit((*buf)[:n], soon)
		pool.Put(buf)
		s.sent(err)
	}()
	return s.awaitSent()
}

// awaitSent waits until the frame has been written, or what ends a Write.
func (s *Stream) awaitSent() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.sending && !s.closed && !s.reset && !s.lost && !s.writeBy.past() {
		s.writable.Wait()
	}
	return s.failed
}

// sent puts the end of this side's direction behind the frame, if it waits.
func (s *Stream) sent(err error) {
	s.mu.Lock()
	s.sending, s.failed = false, err
	end := s.unended && !s.reset && !s.lost
	s.unended = false
	s.writable.Broadcast()
	s.mu.Unlock()
	if end {
		s.putEnd()
	}
}

func (s *Stream) putEnd() {
	s.session.out.put(header{kind: kindWindow, flags: flagFIN, stream: s.id})
}
