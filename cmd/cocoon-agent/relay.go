package main

import (
	"errors"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

// secondInterrupt is how soon a second SIGINT must follow to kill the command.
const secondInterrupt = time.Second

// A relay passes signals on to a command. The program itself goes on until the
// command has ended.
type relay struct {
	cmd         *client.Cmd
	end         func() // ends the command, or a Start that waits
	interactive bool   // SIGHUP and SIGTERM say that the user is gone

	signals chan os.Signal
	started chan struct{} // closed once the command has
	stop    chan struct{} // closed once it has ended

	early atomic.Pointer[syscall.Signal] // came before the command had started
}

// An interruptedError says that a signal came before the command had started.
type interruptedError struct{ sig syscall.Signal }

func (e *interruptedError) Error() string { return "interrupted: " + e.sig.String() }

// relaySignals catches signals from now on, but for those that whoever started
// the program, nohup(1) say, wants to be ignored.
func relaySignals(cmd *client.Cmd, end func(), interactive bool) *relay {
	r := &relay{
		cmd: cmd, end: end, interactive: interactive,
		signals: make(chan os.Signal, 16), started: make(chan struct{}), stop: make(chan struct{}),
	}
	for sig := range relayed {
		if !signal.Ignored(sig) {
			signal.Notify(r.signals, sig)
		}
	}
	return r
}

// start starts the command.
func (r *relay) start() error {
	err := r.cmd.Start()
	if sig := r.early.Load(); sig != nil && err != nil {
		return &interruptedError{*sig}
	}
	if err == nil {
		close(r.started)
	}
	return err
}

// close stops run, and lets the signals do what they do.
func (r *relay) close() {
	signal.Stop(r.signals)
	close(r.stop)
}

// run is stopped by close.
func (r *relay) run() {
	var interrupted time.Time
	for {
		select {
		case s := <-r.signals:
			sig := s.(syscall.Signal)
			again := sig == syscall.SIGINT && time.Since(interrupted) < secondInterrupt
			if sig == syscall.SIGINT {
				interrupted = time.Now()
			}
			switch {
			case again:
				signal.Reset(syscall.SIGINT)     // a third ends the program, should the agent not answer
				go func() { _ = r.cmd.Kill() }() // ends with the answer, or the connection
			case !r.hasStarted():
				r.early.Store(&sig)
				r.end()
			case r.interactive && (sig == syscall.SIGTERM || sig == syscall.SIGHUP):
				r.end()
			default:
				go r.pass(sig) // likewise
			}
		case <-r.stop:
			return
		}
	}
}

// pass passes a signal on. What becomes of the command, Wait tells. An agent that
// has no signals can still end it, which most of them ask for.
func (r *relay) pass(sig syscall.Signal) {
	name := relayed[sig]
	remote, ok := errors.AsType[*client.RemoteError](r.cmd.Signal(name))
	if ok && remote.Kind == client.Unsupported && name != "USR1" && name != "USR2" {
		r.end()
	}
}

func (r *relay) hasStarted() bool {
	select {
	case <-r.started:
		return true
	default:
		return false
	}
}
