package transport

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// serverUID returns the user that has called listen on conn's other end: see
// LOCAL_PEERCRED in unix(4).
func serverUID(conn *net.UnixConn) (uid uint32, known bool, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, false, err
	}
	var cred *unix.Xucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	}); err != nil {
		return 0, false, err
	}
	if credErr != nil {
		return 0, false, fmt.Errorf("LOCAL_PEERCRED: %w", credErr)
	}
	return cred.Uid, true, nil
}
