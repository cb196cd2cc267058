package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

// relayed are the signals that "client" passes on to the command.
var relayed = []os.Signal{
	syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2,
}

// secondInterrupt is how soon a second SIGINT must follow to kill the command.
const secondInterrupt = time.Second

// relay passes signals on to cmd until stop is closed. The program itself goes
// on until the command has ended. hangUp, if any, is called for those that tell
// an interactive program that its user is gone.
func relay(cmd *client.Cmd, hangUp func(), signals <-chan os.Signal, stop <-chan struct{}) {
	var interrupted time.Time
	for {
		select {
		case sig := <-signals:
			again := sig == syscall.SIGINT && time.Since(interrupted) < secondInterrupt
			if sig == syscall.SIGINT {
				interrupted = time.Now()
			}
			switch {
			case again:
				signal.Reset(syscall.SIGINT)   // a third ends the program, should the agent not answer
				go func() { _ = cmd.Kill() }() // ends with the answer, or the connection
			case hangUp != nil && (sig == syscall.SIGTERM || sig == syscall.SIGHUP):
				hangUp()
			default:
				go func() { _ = cmd.Signal(sig) }() // likewise; what becomes of the command, Wait tells
			}
		case <-stop:
			return
		}
	}
}

// relayedSignals catches them from now on, but for those that whoever started
// the program, nohup(1) say, wants to be ignored.
func relayedSignals() (signals chan os.Signal, stop func()) {
	signals = make(chan os.Signal, 16)
	for _, sig := range relayed {
		if !signal.Ignored(sig) {
			signal.Notify(signals, sig)
		}
	}
	return signals, func() { signal.Stop(signals) }
}
