//go:build linux

package hybrid

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/virtqueue"
)

// The device's queues: virtio 1.2, section 5.10.2.
const (
	queueReceive  = iota // to the guest
	queueTransmit        // from the guest
	queueEvent
	queues
)

// A session is the device as one guest sees it, from the connect of a vhost-user
// front end until the front end has gone.
//
// Locks are taken in this order: transmit queue, conn.mu, session.mu, receive queue.
type session struct {
	*Config
	mem      *virtqueue.Memory // written by the goroutine of run, under the lock of every queue
	queue    [queues]*virtqueue.Queue
	features uint64 // the goroutine of run alone uses it
	backend  int    // descriptor for requests of the device's: unused, but open

	// Guarded by the lock of the receive queue.
	control       []control
	receiveCond   *sync.Cond // buffers have come, or the queue has stopped
	receiveClosed bool

	// Guarded by the lock of the event queue.
	resets       int    // events to send
	eventBuffers uint16 // how many buffers the driver keeps there

	ready     chan struct{} // closed when the driver has set the device up, or has gone
	readyOnce sync.Once

	mu       sync.Mutex
	conns    map[connKey]*conn
	nextPort uint32
	gone     bool
	hold     chan struct{} // not nil during a transport reset, and closed at its end

	opened, resetCount atomic.Uint64
	toGuest, fromGuest atomic.Uint64 // bytes
}

// firstPort is the first of the ports that the device gives to clients on the
// host: 2^30 up to 2^31, as Firecracker does.
const firstPort = 1 << 30

func newSession(config *Config) *session {
	s := &session{
		Config:   config,
		backend:  -1,
		conns:    map[connKey]*conn{},
		nextPort: firstPort,
		ready:    make(chan struct{}),
	}
	for i := range s.queue {
		s.queue[i] = virtqueue.New(i, config.Rekick)
	}
	s.receiveCond = sync.NewCond(s.queue[queueReceive])
	return s
}

// run serves one front end until it disconnects.
func (s *session) run(c *net.UnixConn) error {
	defer s.close()
	return s.serveFrontEnd(c)
}

// close ends the session when the guest has gone. Packets that the guest had put on its
// transmit queue are still delivered.
func (s *session) close() {
	s.drainTransmit()
	for _, q := range s.queue {
		q.Lock()
		q.CloseLocked()
		q.Unlock()
	}
	rx := s.queue[queueReceive]
	rx.Lock()
	s.receiveClosed = true
	s.control = nil
	s.receiveCond.Broadcast()
	rx.Unlock()
	if s.mem != nil {
		s.mem.Unmap()
	}
	if s.backend >= 0 {
		_ = unix.Close(s.backend)
	}
	for _, c := range s.unregisterAll() {
		c.peerReset()
	}
	s.readyOnce.Do(func() { close(s.ready) })
}

// update starts q if it can run by now, and gives it a first look.
func (s *session) update(q *virtqueue.Queue) {
	q.Lock()
	before := q.RunningLocked()
	err := q.StartLocked(s.mem, s.features&featureEventIndex != 0)
	now := q.RunningLocked()
	q.Unlock()
	if err != nil {
		s.Logf("queue %d: %v", q.Index(), err)
	}
	if before || !now {
		return
	}
	s.Debugf("queue %d runs", q.Index())
	s.kicked(q)
	if s.runs(queueReceive) && s.runs(queueTransmit) {
		s.readyOnce.Do(func() { close(s.ready) })
	}
}

func (s *session) runs(index int) bool {
	q := s.queue[index]
	q.Lock()
	defer q.Unlock()
	return q.RunningLocked()
}

// kicked handles a notification of the driver's.
func (s *session) kicked(q *virtqueue.Queue) {
	switch q.Index() {
	case queueReceive:
		q.Lock()
		s.flushControlLocked()
		q.SignalLocked()
		s.receiveCond.Broadcast()
		q.Unlock()
	case queueTransmit:
		s.drainTransmit()
	case queueEvent:
		s.flushEvents()
	}
}

// failLocked stops a queue whose driver has written nonsense.
func (s *session) failLocked(q *virtqueue.Queue, err error) {
	s.Logf("%v", err)
	q.FailLocked()
	s.receiveCond.Broadcast() // nobody waits for buffers of a queue that has failed
}

func (s *session) summary() string {
	s.mu.Lock()
	n := len(s.conns)
	s.mu.Unlock()
	return fmt.Sprintf("%d connections open, %d opened, %d bytes to the guest, %d bytes from it, %d resets",
		n, s.opened.Load(), s.toGuest.Load(), s.fromGuest.Load(), s.resetCount.Load())
}
