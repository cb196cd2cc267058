//go:build linux

package row

import (
	"errors"
	"io"
	"net"
	"path/filepath"

	"github.com/hashicorp/yamux"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
)

// The contenders of the row mux.
const (
	ownMux    = "internal/mux"
	library   = "hashicorp/yamux 0.1.2"
	unixAlone = "the socket alone"
)

// A link is a connection over a Unix socket, with both of its ends in this process.
type link struct {
	name string

	// open opens a stream from the host's side. Close of either end ends what
	// it writes.
	open func() (host, agent io.ReadWriteCloser, err error)
	end  func() // ends the connection and its streams
}

// A dialer makes a connection and returns both ends.
type dialer func() (near, far net.Conn, err error)

// links makes one of each. The caller calls end, whatever the error.
func (b *Bench) links() (all []*link, end func(), err error) {
	dial, stop, err := b.pairs()
	if err != nil {
		return nil, func() {}, err
	}
	end = func() {
		for _, l := range all {
			l.end()
		}
		_ = stop()
	}
	for _, connect := range []func(dialer) (*link, error){linkMux, linkLibrary, linkAlone} {
		l, err := connect(dial)
		if err != nil {
			return all, end, err
		}
		all = append(all, l)
	}
	return all, end, nil
}

// pairs listens for a dialer.
func (b *Bench) pairs() (_ dialer, stop func() error, err error) {
	ln, err := net.Listen("unix", filepath.Join(b.Lab.Dir, "mux"))
	if err != nil {
		return nil, nil, err
	}
	dial := func() (near, far net.Conn, err error) {
		if near, err = net.Dial("unix", ln.Addr().String()); err != nil {
			return nil, nil, err
		}
		if far, err = ln.Accept(); err != nil {
			return nil, nil, errors.Join(err, near.Close())
		}
		return near, far, nil
	}
	return dial, ln.Close, nil
}

func linkMux(dial dialer) (*link, error) {
	near, far, err := dial()
	if err != nil {
		return nil, err
	}
	agent := mux.Server(far)
	host, _, err := mux.Client(near, "")
	if err != nil {
		return nil, errors.Join(err, agent.Close())
	}
	return &link{
		name: ownMux,
		open: func() (io.ReadWriteCloser, io.ReadWriteCloser, error) {
			one, err := host.Open()
			if err != nil {
				return nil, nil, err
			}
			other, err := agent.Claim(one.ID())
			return one, other, err
		},
		end: func() { _, _ = host.Close(), agent.Close() },
	}, nil
}

// libraryWindow is the library's default on the agent's side, and on the host's
// what mux has there.
const libraryWindow = 1 << 20

func linkLibrary(dial dialer) (*link, error) {
	near, far, err := dial()
	if err != nil {
		return nil, err
	}
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	agent, err := yamux.Server(far, config)
	if err != nil {
		return nil, err
	}
	config = config.Clone()
	config.MaxStreamWindowSize = libraryWindow
	host, err := yamux.Client(near, config)
	if err != nil {
		return nil, errors.Join(err, agent.Close())
	}
	return &link{
		name: library,
		open: func() (io.ReadWriteCloser, io.ReadWriteCloser, error) {
			one, err := host.OpenStream()
			if err != nil {
				return nil, nil, err
			}
			other, err := agent.AcceptStream()
			return one, other, err
		},
		end: func() { _, _ = host.Close(), agent.Close() },
	}, nil
}

// linkAlone has a connection for each stream.
func linkAlone(dial dialer) (*link, error) {
	return &link{
		name: unixAlone,
		open: func() (io.ReadWriteCloser, io.ReadWriteCloser, error) { return dial() },
		end:  func() {},
	}, nil
}
