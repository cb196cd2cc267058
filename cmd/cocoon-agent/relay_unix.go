//go:build unix

package main

import (
	"syscall"

	"github.com/cocoonstack/cocoon-agent/client"
)

// relayed are the signals that "client" passes on to the command. They go by name,
// since the guest may number them otherwise.
var relayed = map[syscall.Signal]client.SignalName{
	syscall.SIGINT: "INT", syscall.SIGTERM: "TERM", syscall.SIGHUP: "HUP",
	syscall.SIGQUIT: "QUIT", syscall.SIGUSR1: "USR1", syscall.SIGUSR2: "USR2",
}
