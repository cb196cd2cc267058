package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

type serveCommand struct {
	Port          *uint32       `xor:"listen" placeholder:"1024" help:"Listen on this vsock port, on any CID of the guest's own."`
	Listen        []string      `xor:"listen" sep:"none" placeholder:"URL" help:"Listen on vsock://:PORT or unix:///PATH instead. Repeatable."`
	AllowCID      []uint32      `name:"allow-cid" placeholder:"N" help:"Serve vsock peers with CID N too, besides the host (2). Repeatable. CID 1 is every process of this guest, which is then root."`
	ShutdownGrace time.Duration `default:"5s" help:"How long commands have between SIGTERM and SIGKILL when the agent is shut down."`
	LogLevel      logLevel      `default:"info" placeholder:"LEVEL" env:"AGENT_LOG_LEVEL" help:"debug, info, warn or error. Default: info."`

	capFlags    `embed:""`
	policyFlags `embed:""`
}

// Help is what --help says besides the flags.
func (*serveCommand) Help() string {
	return `The agent runs commands with its own privileges for whoever may connect: over
vsock the host alone, over a Unix socket (mode 0600) root and the agent's own
user. It logs to standard error: JSON lines, one record at the start and one at
the end of each command.

SIGTERM and SIGINT end it: no new commands, running ones get SIGTERM and, after
--shutdown-grace, SIGKILL; each host still gets their exit; then exit status 0.`
}

// Run serves until a signal ends it.
func (s *serveCommand) Run() error {
	log := newLogger(s.LogLevel)
	addresses, err := s.addresses()
	if err != nil {
		return err
	}
	if s.ShutdownGrace < 0 {
		return fmt.Errorf("--shutdown-grace %v is negative", s.ShutdownGrace)
	}
	caps, err := s.caps()
	if err != nil {
		return err
	}
	policy, err := s.policy()
	if err != nil {
		return err
	}
	s.collectInTime()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	spawner, err := proc.NewSpawner()
	if err != nil {
		return err
	}
	defer spawner.Close()
	if err := spawner.UseCgroups(); err != nil {
		log.Warn().Err(err).Msg("no cgroups: a process that makes itself a session and loses its parent escapes when its command is ended")
	}
	listeners, err := listen(ctx, log, addresses)
	if err != nil || ctx.Err() != nil {
		return err
	}
	log.Info().Str("address", join(addresses)).Str("version", version).Msg("listening")
	server := session.NewServer(session.Config{
		Log:           log,
		Spawner:       spawner,
		Version:       version,
		Admit:         admit(transport.Policy{CIDs: s.AllowCID}),
		ShutdownGrace: s.ShutdownGrace,
		Caps:          caps,
		Policy:        policy,
		LogArgs:       s.LogArgs,
	})
	return serve(ctx, stop, log, server, listeners)
}

func (s *serveCommand) addresses() ([]transport.Address, error) {
	urls := s.Listen
	if len(urls) == 0 {
		urls = []string{"vsock://"}
	}
	if s.Port != nil {
		urls = []string{fmt.Sprintf("vsock://:%d", *s.Port)}
	}
	var addresses []transport.Address
	for _, url := range urls {
		a, err := transport.ParseAddress(url)
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, a)
	}
	return addresses, nil
}

func admit(p transport.Policy) func(net.Conn) (string, error) {
	return func(c net.Conn) (string, error) {
		peer, err := p.Admit(c)
		return peer.String(), err
	}
}

func join(addresses []transport.Address) string {
	var names []string
	for _, a := range addresses {
		names = append(names, a.String())
	}
	return strings.Join(names, " ")
}

// serve serves all listeners until ctx ends or one of them fails, and then
// shuts down. A second signal ends the process at once.
func serve(ctx context.Context, stop func(), log zerolog.Logger, server *session.Server, listeners []net.Listener) error {
	failed := make(chan error, len(listeners))
	for _, ln := range listeners {
		go func() { failed <- server.Serve(ln) }() // stopped by Shutdown
	}
	var err error
	select {
	case <-ctx.Done():
		log.Info().Msg("shutting down")
	case err = <-failed:
		log.Error().Err(err).Msg("listener failed: shutting down")
	}
	stop()
	if e := server.Shutdown(context.Background()); e != nil {
		err = errors.Join(err, e)
	}
	log.Info().Msg("shut down")
	return err
}

const (
	// devicePatience is how long a vsock device may take to appear after boot.
	devicePatience = 2 * time.Minute

	deviceRetry = 500 * time.Millisecond

	// inUsePatience is how long a child that an agent was forking when it was
	// killed may hold its address: it lets go when it becomes a command.
	inUsePatience = time.Second

	inUseRetry = 10 * time.Millisecond
)

// listen listens on all addresses, or on none.
func listen(ctx context.Context, log zerolog.Logger, addresses []transport.Address) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, a := range addresses {
		ln, err := listenPatiently(ctx, log, a)
		if err != nil || ln == nil {
			for _, open := range listeners {
				_ = open.Close()
			}
			return nil, err
		}
		listeners = append(listeners, ln)
	}
	return listeners, nil
}

// listenPatiently waits for a vsock device that is not there yet, and for the
// address of an agent that has just been killed. It returns neither where ctx
// ends first.
func listenPatiently(ctx context.Context, log zerolog.Logger, a transport.Address) (net.Listener, error) {
	begun := time.Now()
	for try := 0; ; try++ {
		ln, err := transport.Listen(a)
		var wait time.Duration
		switch {
		case errors.Is(err, transport.ErrNoDevice):
			if time.Since(begun) > devicePatience {
				return nil, fmt.Errorf("%w: gave up after %v: is the guest kernel's vmw_vsock_virtio_transport module loaded, and has the VM a vsock device?", err, devicePatience)
			}
			if try == 0 {
				log.Warn().Err(err).Dur("patience_ms", devicePatience).Msg("waiting for the vsock device")
			}
			wait = deviceRetry
		case errors.Is(err, transport.ErrInUse) && time.Since(begun) < inUsePatience:
			wait = inUseRetry
		default:
			return ln, err
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(wait):
		}
	}
}
