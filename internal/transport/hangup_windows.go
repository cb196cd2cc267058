package transport

import "syscall"

// hangUps are the errors by which Windows tells that the peer has closed a socket.
var hangUps = []error{syscall.WSAECONNRESET, syscall.WSAECONNABORTED, syscall.ERROR_BROKEN_PIPE}
