package transport_test

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

// resetByPeer returns the error of a Read whose peer has reset the connection.
func resetByPeer(t *testing.T) error {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = far.(*net.TCPConn).SetLinger(0)
	_ = far.Close()
	_, err = near.Read(make([]byte, 1))
	return err
}

func TestHungUpKnowsAReset(t *testing.T) {
	if err := resetByPeer(t); !transport.HungUp(err) {
		t.Errorf("HungUp(%v) = false, want true", err)
	}
	for _, err := range []error{nil, io.EOF, net.ErrClosed, errors.New("another")} {
		if transport.HungUp(err) {
			t.Errorf("HungUp(%v) = true, want false", err)
		}
	}
}
