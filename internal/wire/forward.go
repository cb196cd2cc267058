package wire

// Forward makes a connection to a service in the guest, and carries its bytes
// over a stream. It is answered by [Error], and then there is no connection, or
// by [Started] and later, when both directions have ended, by [Done]; or by
// [Error], and then the connection has been broken off.
type Forward struct {
	Head `msgpack:",inline"`

	Network string `msgpack:"network"` // tcp, tcp4, tcp6 or unix
	Address string `msgpack:"address"` // HOST:PORT of the loopback interface; an absolute path, or @NAME
	Stream  uint32 `msgpack:"stream"`  // the yamux id of the stream that the host has opened for it
}

func (*Forward) kind() Type { return TypeForward }

func (m *Forward) set(key string, f *fields) {
	switch key {
	case "network":
		m.Network = f.text()
	case "address":
		m.Address = f.text()
	case "stream":
		m.Stream = f.stream()
	default:
		f.skip()
	}
}
