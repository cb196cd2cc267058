package local_test

import (
	"syscall"

	"golang.org/x/sys/windows"
)

const errReset = windows.WSAECONNRESET

func awaitByte(syscall.RawConn) {} // only Unix sockets need it
