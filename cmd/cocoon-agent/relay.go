package main

import (
	"context"
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

const (
	// startTime is how long Start may go on once a signal has come.
	startTime = 200 * time.Millisecond

	// answerTime is how long the agent has to take a signal that ends programs.
	answerTime = 3 * time.Second

	// secondTime is how long it has to take the next one, and the command to end
	// after a second SIGTERM. SIGHUP and SIGQUIT may mean something else to it.
	secondTime = 800 * time.Millisecond
)

// A relay passes signals on to a command. The program itself goes on until the
// command has ended.
type relay struct {
	cmd         *client.Cmd
	end         func()            // ends the command, or a Start that waits
	leave       func()            // ends the program's connection to it
	interactive bool              // SIGHUP and SIGTERM say that the user is gone
	report      func(*client.Cmd) // is called once the command has started

	signals chan os.Signal
	started chan struct{} // closed once the command has
	stop    chan struct{} // closed once it has ended

	early atomic.Pointer[syscall.Signal] // came before the command had started
}

// An interruptedError says that a signal came before the command had started.
type interruptedError struct {
	sig syscall.Signal
	err error // of Start
}

func (e *interruptedError) Error() string { return "interrupted: " + e.sig.String() }

// catchSignals catches signals from now on, but for those that whoever started
// the program, nohup(1) say, wants to be ignored. The caller stops that.
func catchSignals() chan os.Signal {
	signals := make(chan os.Signal, 16)
	for sig := range relayed {
		if !signal.Ignored(sig) {
			signal.Notify(signals, sig)
		}
	}
	return signals
}

// untilSignal calls f with a context that the first signal ends. The error is an
// [*interruptedError] then: nothing has been asked of an agent.
func untilSignal(signals <-chan os.Signal, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }() // ends soon after ctx
	select {
	case err := <-ended:
		return err
	case s := <-signals:
		cancel()
		return &interruptedError{s.(syscall.Signal), <-ended}
	}
}

// relaySignals passes signals on from now on, those that are waiting, too.
func relaySignals(signals chan os.Signal, cmd *client.Cmd, end func(), report func(*client.Cmd), interactive bool) *relay {
	return &relay{
		cmd: cmd, end: end, leave: end, interactive: interactive, report: report,
		signals: signals, started: make(chan struct{}), stop: make(chan struct{}),
	}
}

// start starts the command.
func (r *relay) start() error {
	err := r.cmd.Start()
	if sig := r.early.Load(); sig != nil && err != nil {
		return &interruptedError{*sig, err}
	}
	if err == nil {
		r.report(r.cmd)
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
	ending := false // such a signal has come
	for {
		select {
		case s := <-r.signals:
			sig := s.(syscall.Signal)
			second := ending && ends(sig)
			ending = ending || ends(sig)
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
				go r.passOnceStarted(sig, second) // ends with run
			case r.interactive && sig != syscall.SIGQUIT && ends(sig) && second:
				time.AfterFunc(secondTime, r.leaveUnended)
			default:
				go r.pass(sig, second) // likewise
			}
		case <-r.stop:
			return
		}
	}
}

// ends says whether a signal is to end programs, and none that comes again for another
// reason, as ^C does.
func ends(sig syscall.Signal) bool {
	return sig == syscall.SIGTERM || sig == syscall.SIGHUP || sig == syscall.SIGQUIT
}

// leaveUnended leaves the command, if it has not ended.
func (r *relay) leaveUnended() {
	select {
	case <-r.stop:
	default:
		r.leave()
	}
}

// pass passes a signal on. Wait reports the end of the command. An agent that has no
// signals can still end the command, which most signals ask for. If the agent does not
// take a signal that is to end the command in time, the client leaves it.
func (r *relay) pass(sig syscall.Signal, second bool) {
	if r.interactive && sig != syscall.SIGQUIT && ends(sig) {
		r.end()
		return
	}
	if ends(sig) {
		wait := answerTime
		if second {
			wait = secondTime
		}
		late := time.AfterFunc(wait, r.leaveUnended)
		if !second || sig != syscall.SIGTERM {
			defer late.Stop()
		}
	}
	name := relayed[sig]
	remote, ok := errors.AsType[*client.RemoteError](r.cmd.Signal(name))
	if ok && remote.Kind == client.Unsupported && name != "USR1" && name != "USR2" {
		r.end()
	}
}

// passOnceStarted passes a signal on that came before Start had returned. The command may
// have started already, and its output have been seen: the signal is the command's then.
// Start is ended if it goes on, and then an agent that does not answer that is left.
func (r *relay) passOnceStarted(sig syscall.Signal, second bool) {
	late := time.AfterFunc(startTime, r.end)
	select {
	case <-r.started:
		late.Stop()
		r.pass(sig, second)
	case <-r.stop:
		late.Stop()
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
