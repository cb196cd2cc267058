package wire

// Forward makes a connection to a service in the guest, and carries its bytes
// over a stream. It is answered by [Error], and then there is no connection, or
// by [Started] and later, when both directions have ended, by [Done]; or by
// [Error], and then the connection has been broken off.
type Forward struct {
	Head

	Network string // tcp, tcp4, tcp6 or unix
	Address string // HOST:PORT of the loopback interface; an absolute path, or @NAME
	Stream  uint32 // the yamux id of the stream that the host has opened for it
}

func (*Forward) kind() Type { return TypeForward }

func (m *Forward) fields(f *fields) {
	m.Head.fields(f)
	text(f, "network", &m.Network, always)
	text(f, "address", &m.Address, always)
	natural(f, "stream", &m.Stream, always)
}
