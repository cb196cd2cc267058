//go:build linux

// Package vhostuser reads and writes the messages of the vhost-user protocol
// (QEMU's docs/interop/vhost-user.rst), as a back end.
package vhostuser

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// The requests of a front end.
const (
	GetFeatures         = 1
	SetFeatures         = 2
	SetOwner            = 3
	ResetOwner          = 4
	SetMemTable         = 5
	SetLogBase          = 6
	SetLogFD            = 7
	SetVringNum         = 8
	SetVringAddr        = 9
	SetVringBase        = 10
	GetVringBase        = 11
	SetVringKick        = 12
	SetVringCall        = 13
	SetVringErr         = 14
	GetProtocolFeatures = 15
	SetProtocolFeatures = 16
	GetQueueNum         = 17
	SetVringEnable      = 18
	SetBackendReqFD     = 21
	GetConfig           = 24
	SetConfig           = 25
	ResetDevice         = 34
)

const (
	headerSize = 12

	version     = 1
	versionMask = 3
	flagReply   = 1 << 2
	flagAck     = 1 << 3

	// maxBody is the largest body that is read. A memory table of 8 regions has 264 bytes.
	maxBody = 4096
	// maxFDs is how many descriptors can come with a message.
	maxFDs = 32
)

// A Message is one request of a front end, with its descriptors.
type Message struct {
	Request uint32
	Body    []byte
	flags   uint32
	fds     []int
}

// WantsAck reports whether the front end wants to be told that the request is done.
func (m *Message) WantsAck() bool { return m.flags&flagAck != 0 }

// FDs returns the descriptors that came with the message, which still has them.
func (m *Message) FDs() []int { return m.fds }

// TakeFD hands the first descriptor over to the caller. It returns -1 if there is none.
func (m *Message) TakeFD() int {
	if len(m.fds) == 0 {
		return -1
	}
	fd := m.fds[0]
	m.fds = m.fds[1:]
	return fd
}

// Close closes the descriptors that nobody has taken.
func (m *Message) Close() {
	for _, fd := range m.fds {
		_ = unix.Close(fd)
	}
	m.fds = nil
}

// Read reads one message. It returns io.EOF if there is no further one. The
// caller closes the message.
func Read(c *net.UnixConn) (*Message, error) {
	m := &Message{}
	if err := m.read(c); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *Message) read(c *net.UnixConn) error {
	var header [headerSize]byte
	if err := m.readHeader(c, header[:]); err != nil {
		return err
	}
	le := binary.LittleEndian
	m.Request, m.flags = le.Uint32(header[0:]), le.Uint32(header[4:])
	size := le.Uint32(header[8:])
	if m.flags&versionMask != version || size > maxBody {
		return fmt.Errorf("vhost-user request %d: flags %#x, size %d", m.Request, m.flags, size)
	}
	m.Body = make([]byte, size)
	_, err := io.ReadFull(c, m.Body)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("read the body of vhost-user request %d: %w", m.Request, err)
	}
	return nil
}

// readHeader fills header, and keeps the descriptors that come with it.
func (m *Message) readHeader(c *net.UnixConn, header []byte) error {
	control := make([]byte, unix.CmsgSpace(4*maxFDs))
	for n := 0; n < len(header); {
		read, controlled, _, _, err := c.ReadMsgUnix(header[n:], control)
		switch {
		case errors.Is(err, io.EOF) && n == 0:
			return io.EOF
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
		if err := m.keepFDs(control[:controlled]); err != nil {
			return err
		}
		n += read
	}
	return nil
}

func (m *Message) keepFDs(control []byte) error {
	if len(control) == 0 {
		return nil
	}
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return fmt.Errorf("parse control message: %w", err)
	}
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil {
			m.fds = append(m.fds, fds...)
		}
	}
	return nil
}

// WriteReply answers a request.
func WriteReply(c *net.UnixConn, request uint32, body []byte) error {
	b := binary.LittleEndian.AppendUint32(nil, request)
	b = binary.LittleEndian.AppendUint32(b, version|flagReply)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	if _, err := c.Write(append(b, body...)); err != nil {
		return fmt.Errorf("answer vhost-user request %d: %w", request, err)
	}
	return nil
}
