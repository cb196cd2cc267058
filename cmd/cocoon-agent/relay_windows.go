package main

import (
	"syscall"

	"github.com/cocoonstack/cocoon-agent/client"
)

// relayed are the signals that "client" passes on to the command. Windows has no
// others: ^C and ^Break are SIGINT; SIGTERM says that the console is being closed,
// or that the user logs off.
var relayed = map[syscall.Signal]client.SignalName{syscall.SIGINT: "INT", syscall.SIGTERM: "TERM"}
