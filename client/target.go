package client

import (
	"context"
	"errors"
	"net"

	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

// DefaultPort is the vsock port of an agent if a target names none.
const DefaultPort = transport.DefaultPort

// A Target names an agent. Its zero value names none.
type Target struct {
	Scheme string // "vsock", "hvsock" or "unix"
	CID    uint32 // vsock
	Port   uint32 // vsock, hvsock
	Path   string // hvsock: the VMM's socket; unix: the agent's
	UID    uint32 // unix: who must serve the socket; 0: root, or this process's own user
}

// ParseTarget parses one of
//
//	vsock://CID[:PORT]         AF_VSOCK on this host: QEMU, crosvm with vhost-vsock
//	hvsock:///PATH[:PORT]      the VMM's Unix socket: Firecracker, Cloud Hypervisor
//	unix:///PATH[?uid=UID]     an agent that listens on a Unix socket
//
// If PORT is left out, it is [DefaultPort]. The text after the last colon of a path is
// its port. UID is [Target.UID]; only a ?uid= at the end is read as such, and other
// question marks belong to the path. On Windows /C:/PATH is C:/PATH. The error says
// what is wrong with s.
func ParseTarget(s string) (Target, error) {
	t, err := transport.ParseTarget(s)
	return Target(t), err
}

// String returns the target in the form that [ParseTarget] takes.
func (t Target) String() string { return transport.Target(t).String() }

// Dial makes a connection to the agent, and sends nothing over it. Cancelling ctx, or
// its deadline, ends every step of it: over hvsock the VMM's answer too. The caller
// closes the connection.
//
// The server of a unix target must run as root or as this process's user, or as
// Target.UID if that is set: another user of this host may have bound the path first.
// On Linux and macOS the kernel tells the server's user before a byte is sent. Other
// systems do not tell, and Dial does not check there. Over hvsock the server is the
// VMM, whose user is not checked.
func (t Target) Dial(ctx context.Context) (net.Conn, error) {
	conn, err := transport.Dial(ctx, transport.Target(t))
	if err != nil {
		return nil, &DialError{Target: t.String(), Err: bare(err)}
	}
	return conn, nil
}

// bare takes off what a net.OpError says of the address, which is said already.
func bare(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}
