//go:build linux

package hybrid

import (
	"errors"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A hangupWatcher waits for clients that have closed their sending side to close
// the other, too. Go's poller does not tell.
type hangupWatcher struct {
	epoll int
	mu    sync.Mutex
	next  int64
	conns map[int64]*conn
}

// hangups is one watcher for the process: it runs from the first half-closed
// client until the process ends.
var hangups = sync.OnceValues(func() (*hangupWatcher, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	w := &hangupWatcher{epoll: fd, conns: map[int64]*conn{}}
	go w.run() // ends with the process
	return w, nil
})

func watchHangup(c *conn) {
	w, err := hangups()
	if err == nil {
		err = w.watch(c)
	}
	if err != nil {
		c.session.Logf("a client's hangup will not be noticed: %v", err)
	}
}

// sweepEvery is after how many clients the table is rid of those that have gone:
// epoll forgets a descriptor that is closed, the table does not.
const sweepEvery = 256

func (w *hangupWatcher) watch(c *conn) error {
	raw, err := c.socket.SyscallConn()
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	id := w.next
	if id%sweepEvery == 0 {
		for k, c := range w.conns {
			if c.dead.Load() {
				delete(w.conns, k)
			}
		}
	}
	w.conns[id] = c
	var added error
	err = raw.Control(func(fd uintptr) {
		// No events are asked for: hangup and error are always reported.
		event := unix.EpollEvent{Events: unix.EPOLLONESHOT, Fd: int32(id), Pad: int32(id >> 32)}
		added = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, int(fd), &event)
	})
	if err = errors.Join(err, added); err != nil {
		delete(w.conns, id)
	}
	return err
}

func (w *hangupWatcher) run() {
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(w.epoll, events, -1)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			panic(err) // the descriptor is this watcher's alone
		}
		for _, event := range events[:max(n, 0)] {
			if c := w.remove(int64(uint32(event.Fd)) | int64(event.Pad)<<32); c != nil {
				c.hostHangup()
			}
		}
	}
}

func (w *hangupWatcher) remove(id int64) *conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.conns[id]
	delete(w.conns, id)
	return c
}
