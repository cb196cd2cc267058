package hangtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// A mount is a server of the FUSE protocol, version 7.31, of linux/fuse.h: as much of it
// as a directory and a file need. It reads /dev/fuse with a thread.
type mount struct {
	path    string
	fd      int
	state   atomic.Int32 // one of the states
	hanging atomic.Int32 // requests that are read and not answered
	wake    [2]int       // a pipe that ends the server's wait
	ended   sync.Once
	done    chan struct{} // closed when the server has ended
}

// The states.
const (
	stateAnswering = iota
	stateHanging
	stateStopped
)

func newMount(tb testing.TB) *Mount {
	tb.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		tb.Skipf("/dev/fuse: %v", err)
	}
	m := &Mount{mount{path: openDir(tb), fd: fd, done: make(chan struct{})}}
	if err := unix.Pipe2(m.wake[:], unix.O_CLOEXEC); err != nil {
		tb.Fatal(err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := unix.Mount("hangtest", m.path, "fuse", 0, options); err != nil {
		_ = unix.Close(fd)
		tb.Skipf("mount -t fuse: %v", err)
	}
	go m.serve() // ends with end
	tb.Cleanup(m.end)
	if err := unix.Access(m.path+"/dir", unix.F_OK); err != nil { // once it answers, it is initialized
		tb.Fatal(err)
	}
	return m
}

func (m *mount) hang() { m.state.Store(stateHanging) }
func (m *mount) stop() { m.state.Store(stateStopped); m.poke() }

func (m *mount) poke() { _, _ = unix.Write(m.wake[1], []byte{0}) }

// end aborts the connection first: what waits for an answer gets ENOTCONN.
func (m *mount) end() {
	m.ended.Do(func() {
		_ = unix.Unmount(m.path, unix.MNT_FORCE|unix.MNT_DETACH)
		_ = unix.Close(m.wake[1])
		<-m.done
		_ = unix.Close(m.fd)
		_ = unix.Close(m.wake[0])
	})
}

func (m *mount) serve() {
	defer close(m.done)
	request := make([]byte, 256<<10)
	for {
		ready := []unix.PollFd{{Fd: int32(m.fd), Events: unix.POLLIN}, {Fd: int32(m.wake[0]), Events: unix.POLLIN}}
		if m.state.Load() == stateStopped {
			ready[0].Events = 0
		}
		if _, err := unix.Poll(ready, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if ready[1].Revents&unix.POLLIN != 0 {
			_, _ = unix.Read(m.wake[0], make([]byte, 16))
			continue
		}
		if ready[1].Revents != 0 { // end
			return
		}
		if ready[0].Revents&unix.POLLIN == 0 || m.state.Load() == stateStopped {
			if ready[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0 {
				m.awaitEnd()
				return
			}
			continue
		}
		n, err := unix.Read(m.fd, request)
		if err != nil {
			continue
		}
		if m.state.Load() == stateAnswering {
			m.answer(request[:n])
		} else if op := operation(request); op != opForget && op != opInterrupt {
			m.hanging.Add(1)
		}
	}
}

// awaitEnd is for a server whose file system has been unmounted.
func (m *mount) awaitEnd() {
	for {
		n, err := unix.Read(m.wake[0], make([]byte, 16))
		if n == 0 || err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// The requests that are answered, fuse(4).
const (
	opLookup     = 1
	opForget     = 2
	opGetattr    = 3
	opOpen       = 14
	opRead       = 15
	opRelease    = 18
	opInit       = 26
	opOpendir    = 27
	opAccess     = 34
	opReleasedir = 29
	opInterrupt  = 36
)

const (
	nodeRoot   = 1
	nodeDir    = 2
	nodeScript = 3

	script = "#!/bin/true\n"
)

func operation(request []byte) uint32 { return binary.NativeEndian.Uint32(request[4:]) }

func (m *mount) answer(request []byte) {
	op := operation(request)
	id := binary.NativeEndian.Uint64(request[8:])
	node := binary.NativeEndian.Uint64(request[16:])
	body := request[40:]
	switch op {
	case opForget, opInterrupt:
	case opInit:
		out := make([]byte, 64)
		binary.NativeEndian.PutUint32(out[0:], 7)
		binary.NativeEndian.PutUint32(out[4:], 31)
		binary.NativeEndian.PutUint32(out[20:], 128<<10) // max_write
		m.reply(id, 0, out)
	case opLookup:
		m.lookup(id, node, string(body[:len(body)-1]))
	case opGetattr:
		m.reply(id, 0, append(make([]byte, 16), attributes(node)...)) // valid for no time
	case opOpen, opOpendir:
		m.reply(id, 0, make([]byte, 16))
	case opRead:
		m.read(id, body)
	case opRelease, opReleasedir, opAccess:
		m.reply(id, 0, nil)
	default:
		m.reply(id, unix.ENOSYS, nil)
	}
}

func (m *mount) lookup(id, parent uint64, name string) {
	node := map[string]uint64{"dir": nodeDir, "script": nodeScript}[name]
	if parent != nodeRoot || node == 0 {
		m.reply(id, unix.ENOENT, nil)
		return
	}
	entry := make([]byte, 40) // valid for no time
	binary.NativeEndian.PutUint64(entry, node)
	m.reply(id, 0, append(entry, attributes(node)...))
}

func (m *mount) read(id uint64, body []byte) {
	offset := min(binary.NativeEndian.Uint64(body[8:]), uint64(len(script)))
	m.reply(id, 0, []byte(script[offset:]))
}

// attributes are struct fuse_attr of a node.
func attributes(node uint64) []byte {
	a := make([]byte, 88)
	mode, size := uint32(unix.S_IFDIR|0o755), uint64(0)
	if node == nodeScript {
		mode, size = unix.S_IFREG|0o755, uint64(len(script))
	}
	binary.NativeEndian.PutUint64(a[0:], node)
	binary.NativeEndian.PutUint64(a[8:], size)
	binary.NativeEndian.PutUint32(a[60:], mode)
	binary.NativeEndian.PutUint32(a[64:], 1) // links
	binary.NativeEndian.PutUint32(a[80:], 4096)
	return a
}

func (m *mount) reply(id uint64, errno unix.Errno, body []byte) {
	out := make([]byte, 16, 16+len(body))
	binary.NativeEndian.PutUint32(out[0:], uint32(16+len(body)))
	binary.NativeEndian.PutUint32(out[4:], uint32(-int32(errno)))
	binary.NativeEndian.PutUint64(out[8:], id)
	_, _ = unix.Write(m.fd, append(out, body...))
}
