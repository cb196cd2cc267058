//go:build linux

package hybrid

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/vhostuser"
	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/virtqueue"
)

const (
	featureIndirect   = 1 << 28 // VIRTIO_F_INDIRECT_DESC
	featureEventIndex = 1 << 29 // VIRTIO_F_EVENT_IDX
	featureProtocol   = 1 << 30 // VHOST_USER_F_PROTOCOL_FEATURES
	featureVersion1   = 1 << 32 // VIRTIO_F_VERSION_1
	features          = featureIndirect | featureEventIndex | featureProtocol | featureVersion1

	protocolMQ      = 1 << 0
	protocolAck     = 1 << 3
	protocolBackend = 1 << 5
	protocolConfig  = 1 << 9
	// The device makes no requests of its own, but User-Mode Linux 6.1 needs the offer
	// to: without it, its driver asks for interrupt 0, which is the timer's, and the
	// probe fails with EBUSY.
	protocolFeatures = protocolMQ | protocolAck | protocolBackend | protocolConfig
)

// serveFrontEnd talks vhost-user with one front end until it disconnects.
func (s *session) serveFrontEnd(c *net.UnixConn) error {
	for {
		m, err := vhostuser.Read(c)
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
			return nil
		}
		if err != nil {
			return err
		}
		s.Debugf("vhost-user: request %d, %d bytes, %d descriptors", m.Request, len(m.Body), len(m.FDs()))
		reply, err := s.handle(m)
		m.Close()
		if err != nil {
			s.Logf("vhost-user request %d: %v", m.Request, err)
		}
		if reply == nil && m.WantsAck() {
			reply = vhostuser.Uint64(0)
			if err != nil {
				reply = vhostuser.Uint64(1)
			}
		}
		if reply == nil {
			continue
		}
		if err := vhostuser.WriteReply(c, m.Request, reply); err != nil {
			return err
		}
	}
}

// handle carries out one request. The reply is nil for a request that has no
// answer of its own.
func (s *session) handle(m *vhostuser.Message) (reply []byte, err error) {
	switch m.Request {
	case vhostuser.GetFeatures:
		return vhostuser.Uint64(features), nil
	case vhostuser.SetFeatures:
		s.features, err = m.Uint64()
		return nil, err
	case vhostuser.GetProtocolFeatures:
		return vhostuser.Uint64(protocolFeatures), nil
	case vhostuser.GetQueueNum:
		return vhostuser.Uint64(queues), nil
	case vhostuser.SetProtocolFeatures, vhostuser.SetOwner, vhostuser.ResetOwner,
		vhostuser.SetLogFD, vhostuser.SetVringErr, vhostuser.SetConfig:
		return nil, nil
	case vhostuser.SetLogBase:
		return vhostuser.Uint64(0), nil
	case vhostuser.SetBackendReqFD:
		s.keepBackend(m.TakeFD())
		return nil, nil
	case vhostuser.GetConfig:
		return m.ConfigReply(vhostuser.Uint64(uint64(s.CID)))
	case vhostuser.SetMemTable:
		return nil, s.setMemory(m)
	case vhostuser.SetVringNum, vhostuser.SetVringBase, vhostuser.SetVringEnable, vhostuser.GetVringBase:
		return s.setState(m)
	case vhostuser.SetVringAddr:
		return nil, s.setAddresses(m)
	case vhostuser.SetVringCall, vhostuser.SetVringKick:
		return nil, s.setFile(m)
	case vhostuser.ResetDevice:
		for _, q := range s.queue {
			q.Lock()
			q.StopLocked()
			q.Unlock()
		}
		return nil, nil
	}
	return nil, errors.New("unknown request")
}

// keepBackend keeps a descriptor open: User-Mode Linux takes its closing for the
// device's death.
func (s *session) keepBackend(fd int) {
	if s.backend >= 0 {
		_ = unix.Close(s.backend)
	}
	s.backend = fd
}

func (s *session) queueAt(index uint32) (*virtqueue.Queue, error) {
	if index >= queues {
		return nil, fmt.Errorf("no queue %d", index)
	}
	return s.queue[index], nil
}

func (s *session) setState(m *vhostuser.Message) (reply []byte, err error) {
	index, value, err := m.State()
	if err != nil {
		return nil, err
	}
	q, err := s.queueAt(index)
	if err != nil {
		return nil, err
	}
	q.Lock()
	switch m.Request {
	case vhostuser.SetVringNum:
		err = q.SetSizeLocked(value)
	case vhostuser.SetVringBase:
		q.SetBaseLocked(uint16(value))
	case vhostuser.SetVringEnable:
		q.SetEnabledLocked(value != 0)
	case vhostuser.GetVringBase:
		reply = vhostuser.State(index, uint32(q.TakeDownLocked()))
	}
	q.Unlock()
	s.update(q)
	return reply, err
}

func (s *session) setAddresses(m *vhostuser.Message) error {
	index, addrs, err := m.Addresses()
	if err != nil {
		return err
	}
	q, err := s.queueAt(index)
	if err != nil {
		return err
	}
	q.Lock()
	q.SetAddressesLocked(addrs)
	q.Unlock()
	s.update(q)
	return nil
}

func (s *session) setFile(m *vhostuser.Message) error {
	index, fd, err := m.File()
	if err != nil {
		return err
	}
	q, err := s.queueAt(index)
	if err != nil {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return err
	}
	if fd >= 0 {
		_ = unix.SetNonblock(fd, true) // fails for no descriptor that is open
	}
	if m.Request == vhostuser.SetVringKick {
		return s.setKick(q, fd)
	}
	q.Lock()
	defer q.Unlock()
	q.SetCallLocked(fd)
	return nil
}

func (s *session) setKick(q *virtqueue.Queue, fd int) error {
	if fd < 0 {
		return fmt.Errorf("queue %d: no descriptor for kicks, and the device does not poll", q.Index())
	}
	kick := os.NewFile(uintptr(fd), fmt.Sprintf("kick%d", q.Index()))
	q.Lock()
	q.SetKickLocked(kick)
	if s.features&featureProtocol == 0 {
		q.SetEnabledLocked(true) // without it there is no SET_VRING_ENABLE
	}
	q.Unlock()
	go s.readKicks(q, kick) // ends when the queue closes its kick
	s.update(q)
	return nil
}

func (s *session) readKicks(q *virtqueue.Queue, kick *os.File) {
	var count [8]byte
	for {
		if _, err := kick.Read(count[:]); err != nil {
			return
		}
		s.kicked(q)
	}
}

// setMemory maps the guest's memory. Queues that run move over to the new mapping
// in one step.
func (s *session) setMemory(m *vhostuser.Message) error {
	regions, err := m.Regions()
	if err != nil {
		return err
	}
	mem := &virtqueue.Memory{}
	for i, r := range regions {
		s.Debugf("memory region %d: %+v", i, r)
		if err := mem.Map(m.FDs()[i], r); err != nil {
			mem.Unmap()
			return err
		}
	}
	err = s.moveTo(mem)
	for _, q := range s.queue {
		s.update(q)
	}
	return err
}

func (s *session) moveTo(mem *virtqueue.Memory) (err error) {
	tx, rx, events := s.queue[queueTransmit], s.queue[queueReceive], s.queue[queueEvent]
	tx.Lock()
	defer tx.Unlock()
	rx.Lock()
	defer rx.Unlock()
	events.Lock()
	defer events.Unlock()
	err = errors.Join(tx.MoveLocked(mem), rx.MoveLocked(mem), events.MoveLocked(mem))
	if s.mem != nil {
		s.mem.Unmap()
	}
	s.mem = mem
	return err
}
