package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"

	"github.com/cocoonstack/cocoon-agent/internal/session"
)

// serviceName is the service's, as it has always been called.
const serviceName = "cocoon-agent"

// Ids of events.
const (
	eventStarted = 1
	eventStopped = 2
	eventFailed  = 3
)

// A service runs the agent for the service manager.
type service struct {
	command *serveCommand
	config  session.Config
	events  *eventlog.Log // nil: there is none

	err error // what the agent ended with
}

// runService runs the agent until the service manager ends it.
func (s *serveCommand) runService(config session.Config) error {
	x := &service{command: s, config: config}
	if log, err := eventlog.Open(serviceName); err == nil {
		x.events = log
		defer log.Close()
	}
	if err := svc.Run(serviceName, x); err != nil {
		if errors.Is(err, windows.ERROR_FAILED_SERVICE_CONTROLLER_CONNECT) {
			return errors.New("--service: not started by the service manager; run: cocoon-agent service start")
		}
		return fmt.Errorf("service manager: %w", err)
	}
	return x.err
}

// failService tells the event log and the service manager why the service that was started with args
// fails. Without it, nobody would learn of an option that is wrong.
func failService(args []string, err error) {
	if len(args) == 0 || args[0] != serveName || !slices.Contains(args, "--service") {
		return
	}
	x := &service{err: err}
	if log, err := eventlog.Open(serviceName); err == nil {
		x.events = log
		defer log.Close()
	}
	_ = svc.Run(serviceName, failing{x}) // fails at once if nobody waits
}

// A failing service ends with its error.
type failing struct{ *service }

// Execute ends the service: svc.Handler.
func (f failing) Execute(_ []string, _ <-chan svc.ChangeRequest, status chan<- svc.Status) (specific bool, code uint32) {
	status <- svc.Status{State: svc.StartPending, WaitHint: waitHint}
	return f.finish()
}

// How the service manager is kept patient while the agent shuts down.
const (
	checkpointTime = time.Second
	waitHint       = uint32(30_000) // milliseconds
)

// Execute is the service's life: svc.Handler.
func (x *service) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (specific bool, code uint32) {
	status <- svc.Status{State: svc.StartPending, WaitHint: waitHint}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ready, isReady := context.WithCancel(ctx)
	x.command.started = isReady
	ended := make(chan error, 1)
	go func() { ended <- x.run(ctx, stop) }() // ends with ctx, or by itself
	select {
	case x.err = <-ended:
		return x.finish()
	case <-ready.Done():
	}
	running := svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptShutdown | svc.AcceptPreShutdown}
	status <- running
	x.tell(eventStarted, "started")
	for {
		select {
		case x.err = <-ended:
			return x.finish()
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				status <- running
			case svc.Stop, svc.Shutdown, svc.PreShutdown:
				stop()
				x.err = awaitEnd(ended, requests, status)
				return x.finish()
			default: // others are not accepted
			}
		}
	}
}

// awaitEnd tells the service manager that the agent goes on ending, until it has.
func awaitEnd(ended <-chan error, requests <-chan svc.ChangeRequest, status chan<- svc.Status) error {
	tick := time.NewTicker(checkpointTime)
	defer tick.Stop()
	for n := uint32(1); ; n++ {
		status <- svc.Status{State: svc.StopPending, CheckPoint: n, WaitHint: waitHint}
		select {
		case err := <-ended:
			return err
		case <-requests: // answered by the next status
		case <-tick.C:
		}
	}
}

// finish returns what the service ends with. One that fails is restarted by its recovery actions.
func (x *service) finish() (specific bool, code uint32) {
	if x.err != nil {
		x.tell(eventFailed, x.err.Error())
		return true, 1
	}
	x.tell(eventStopped, "stopped")
	return false, 0
}

// tell writes to the event log.
func (x *service) tell(id uint32, text string) {
	if x.events == nil {
		return
	}
	if id == eventFailed {
		_ = x.events.Error(id, text)
		return
	}
	_ = x.events.Info(id, text)
}

func (x *service) run(ctx context.Context, stop func()) error {
	log, err := x.command.openBook()
	if err != nil {
		return err
	}
	defer log.close()
	for _, err := range improveService() {
		log.Warn().Err(err).Msg("service not as it should be")
	}
	if err := x.command.serve(ctx, stop, x.config, log); err != nil {
		log.Error().Err(err).Msg("failed")
		return err
	}
	return nil
}
