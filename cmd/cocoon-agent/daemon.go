//go:build linux || windows

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/deadman"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/systemd"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

const (
	// A listener that has failed is made again after relistenSoon, and after
	// twice as long each time it fails again, up to relistenLate. Once it has
	// lived for that long it has not failed before.
	relistenSoon = 10 * time.Millisecond
	relistenLate = 5 * time.Second
)

// shutdownTime is how long the rest of a shutdown may take, once commands have had
// their grace: SIGKILL, the last of their output, and their exits.
const shutdownTime = 20 * time.Second

// A daemon is an agent that serves, and tells the service manager so.
type daemon struct {
	log      zerolog.Logger
	bind     binder
	server   *session.Server
	notifier systemd.Notifier
	flush    func()           // has the log written, as far as it can be
	deadman  *deadman.Deadman // watches over all of this
	live     liveEndpoints
	stopping context.Context // ends when the agent is to shut down
}

// liveEndpoints are the listeners as they are at the moment. They are safe for concurrent use.
type liveEndpoints struct {
	mu        sync.Mutex
	endpoints []endpoint // a Listener that has failed is nil
}

func (l *liveEndpoints) all() []endpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.endpoints)
}

// replace makes ln the listener of an endpoint.
func (l *liveEndpoints) replace(i int, ln net.Listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endpoints[i].Listener = ln
}

// hurriedTime is how long hosts have to hear of the end of their commands, after a
// second signal.
const hurriedTime = time.Second

// run serves all endpoints until ctx ends or an inherited one fails, and then
// shuts down. A second signal ends the commands at once, and a third one the process.
func (d *daemon) run(ctx context.Context, stop func()) error {
	defer d.guard()()
	endpoints := d.live.all()
	failed := make(chan error, len(endpoints))
	for i, e := range endpoints {
		go func() { // stopped by Shutdown
			if err := d.serve(ctx, e, i); err != nil {
				failed <- err
			}
		}()
	}
	d.tell(systemd.Ready, systemd.Status("listening on "+names(endpoints)))
	var err error
	select {
	case <-ctx.Done():
		d.log.Info().Msg("shutting down")
	case err = <-failed:
		d.log.Error().Err(err).Msg("listener failed, shutting down")
	}
	within, cancel := context.WithTimeout(context.Background(), d.server.ShutdownGrace+shutdownTime)
	defer cancel()
	second := make(chan os.Signal, 1)
	signal.Notify(second, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(second)
	stop()
	d.deadman.Taken()
	go d.hurry(within, cancel, second) // stopped by cancel
	d.tell(systemd.Stopping, systemd.Status("shutting down"))
	if e := d.server.Shutdown(within); e != nil {
		err = errors.Join(err, fmt.Errorf("shut down: %w", e))
	}
	d.log.Info().Msg("shut down")
	return err
}

// hurry waits for a second signal, or for ctx to end.
func (d *daemon) hurry(ctx context.Context, cancel func(), second chan os.Signal) {
	select {
	case <-ctx.Done():
		return
	case <-second:
	}
	signal.Stop(second)
	d.deadman.Taken() // a signal that comes from now on ends the process by itself
	d.log.Warn().Msg("second signal, killing the commands")
	d.server.Hurry()
	time.AfterFunc(hurriedTime, cancel)
}

func (d *daemon) tell(assignments ...string) {
	if err := d.notifier.Notify(assignments...); err != nil {
		d.log.Warn().Err(err).Strs("assignments", assignments).Msg("sd_notify failed")
	}
}

// guard starts a watchdog, which is stopped by what it returns.
func (d *daemon) guard() (stop func()) {
	w := watchdog{d.log, d.server.Check, d.tell, func() { d.flush(); d.deadman.Abort() }}
	ticker := time.NewTicker(interval(d.notifier.Timeout()))
	done := make(chan struct{})
	go w.watch(ticker.C, done)
	return func() {
		ticker.Stop()
		close(done)
	}
}

// serve serves e until the server is shut down or ctx ends, and then returns
// nil. A listener that fails is made again; but not an inherited one, which only
// its owner can bind again: that is an error.
func (d *daemon) serve(ctx context.Context, e endpoint, i int) error {
	log := d.log.With().Stringer("address", e.address).Logger()
	var delay time.Duration
	for {
		begun := time.Now()
		err := d.server.Serve(e.Listener)
		switch {
		case errors.Is(err, session.ErrClosed):
			return nil
		case e.inherited:
			return fmt.Errorf("%s (socket passed by systemd): %w", e.address, err)
		}
		if time.Since(begun) >= relistenLate {
			delay = 0
		}
		log.Error().Err(err).Msg("listener failed, reopening it")
		d.live.replace(i, nil)
		if e.Listener, delay = d.relisten(ctx, log, e.address, delay); e.Listener == nil {
			return nil
		}
		d.live.replace(i, e.Listener)
		log.Info().Msg("listening again")
	}
}

// relisten listens on a when that can be done. It returns a nil listener if
// ctx ends first, and how long it has waited last. The first error is logged.
func (d *daemon) relisten(ctx context.Context, log zerolog.Logger, a transport.Address, delay time.Duration) (net.Listener, time.Duration) {
	for try := 0; ; try++ {
		delay = min(max(2*delay, relistenSoon), relistenLate)
		if !pause(ctx, delay) {
			return nil, delay
		}
		ln, err := transport.Listen(a, d.bind.policy)
		if err == nil {
			return ln, delay
		}
		if try == 0 {
			log.Error().Err(err).Dur("at_most_every_ms", relistenLate).Msg("cannot listen, retrying")
		}
	}
}
