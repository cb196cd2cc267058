package wire

// Listen makes a listener in the guest. It is answered by [Error], and then there is none,
// or by [Started] and later, when it has ended, by [Done] or [Error].
type Listen struct {
	Head

	Network string // tcp, tcp4 or tcp6
	Address string // HOST:PORT of the loopback interface; PORT 0: any free one
}

func (*Listen) kind() Type { return TypeListen }

func (m *Listen) fields(f *fields) {
	m.Head.fields(f)
	text(f, "network", &m.Network, always)
	text(f, "address", &m.Address, always)
}

// Accept takes the next connection of a listener, and carries its bytes over a stream. It is
// answered as a [Forward] is.
type Accept struct {
	Head

	Listener uint64 // the id of a [Listen]
	Stream   uint32 // the yamux id of the stream that the host has opened for it
}

func (*Accept) kind() Type { return TypeAccept }

func (m *Accept) fields(f *fields) {
	m.Head.fields(f)
	natural(f, "listener", &m.Listener, always)
	natural(f, "stream", &m.Stream, always)
}
