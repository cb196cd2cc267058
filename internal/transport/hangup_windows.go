package transport

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// hangUps are Windows' errors for a socket that the peer has closed.
var hangUps = []error{
	syscall.WSAECONNRESET, syscall.WSAECONNABORTED, syscall.ERROR_BROKEN_PIPE,
	windows.ERROR_NETNAME_DELETED, windows.ERROR_CONNECTION_ABORTED, // of viosock, by ReadFile and WriteFile
}
