//go:build linux

package session_test

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/session"
)

// A failing listener fails to accept, with each error in turn.
type failing []error

func (f *failing) Accept() (net.Conn, error) {
	err := (*f)[0]
	*f = (*f)[1:]
	return nil, &net.OpError{Op: "accept", Net: "vsock", Err: os.NewSyscallError("accept4", err)}
}

func (*failing) Close() error   { return nil }
func (*failing) Addr() net.Addr { return nil }

func TestServeReturnsOnlyPermanentErrors(t *testing.T) {
	for _, final := range []error{syscall.EINVAL, syscall.ENOTSOCK, net.ErrClosed} {
		ln := &failing{syscall.EMFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.ECONNABORTED, final}
		server := session.NewServer(session.Config{Log: zerolog.Nop()})
		if err := server.Serve(ln); !errors.Is(err, final) || len(*ln) != 0 {
			t.Errorf("%v, with %d errors left; want %v", err, len(*ln), final)
		}
		if err := server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
