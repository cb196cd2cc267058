package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/systemd"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

type serveCommand struct {
	Port          *uint32       `xor:"listen" placeholder:"1024" help:"Listen on this vsock port, on any CID of the guest's own. Default: 1024, where systemd has passed no sockets."`
	Listen        []string      `xor:"listen" sep:"none" placeholder:"URL" help:"Listen on vsock://:PORT or unix:///PATH instead, and on sockets that systemd has passed. Repeatable."`
	AllowCID      []uint32      `name:"allow-cid" placeholder:"N" help:"Serve vsock peers with CID N too, besides the host (2). Repeatable. CID 1 is every process of this guest, which is then root."`
	ShutdownGrace time.Duration `default:"5s" help:"How long commands have between SIGTERM and SIGKILL when the agent is shut down."`
	DisableV1     bool          `name:"disable-v1" help:"Refuse hosts that speak version 1 of the protocol: JSON lines, one connection for each command."`
	LogLevel      logLevel      `default:"info" placeholder:"LEVEL" env:"AGENT_LOG_LEVEL" help:"debug, info, warn or error. Default: info."`

	capFlags     `embed:""`
	ceilingFlags `embed:""`
	policyFlags  `embed:""`
}

// Help is what --help says besides the flags.
func (*serveCommand) Help() string {
	return `The agent runs commands with its own privileges for whoever may connect: over
vsock the host alone, over a Unix socket (mode 0600) root and the agent's own
user. It logs to standard error: JSON lines, a record before each command starts,
when it has started and when it has ended.

Sockets that a service manager has bound (LISTEN_FDS, as of a socket unit of
systemd) take the place of vsock port 1024; --port and --listen are listened on
besides. NOTIFY_SOCKET and WATCHDOG_USEC are heeded. An agent that is stuck ends
itself with SIGABRT, to be started again.

SIGTERM and SIGINT end it: no new commands, running ones get SIGTERM and, after
--shutdown-grace, SIGKILL; each host still gets their exit; then exit status 0.`
}

// Run serves until a signal ends it.
func (s *serveCommand) Run() error {
	if os.Getpid() == 1 {
		return initRun()
	}
	config, err := s.config()
	if err != nil {
		return &usageError{err}
	}
	log := openLog(s.LogLevel, s.strict())
	defer log.close()
	notifier, err := systemd.NewNotifier()
	if err != nil {
		log.Warn().Err(err).Msg("the service manager will not be told how the agent is")
	}
	var server *session.Server // which listeners do not need before it serves them
	policy := transport.Policy{CIDs: s.AllowCID, Refused: func(p transport.Peer, err error) { server.Refused(peerOf(p), err) }}
	bind := binder{log.Logger, policy}
	endpoints, err := bind.inherit()
	if err != nil {
		return err
	}
	addresses, err := s.addresses(len(endpoints) > 0)
	if err != nil {
		return &usageError{err}
	}
	s.collectInTime()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	survive()
	spawner, err := proc.NewSpawner()
	if err != nil {
		return err
	}
	defer spawner.Close()
	if err := spawner.UseCgroups(); err != nil {
		log.Warn().Err(err).Msg("no cgroups: a process that makes itself a session and loses its parent escapes when its command is ended")
	}
	if err := spawner.CheckLimits(config.Ceilings.Limits()); errors.Is(err, proc.ErrInvalid) {
		return &usageError{fmt.Errorf("--limit-memory, --limit-pids: %w", err)}
	} else if err != nil {
		log.Error().Err(err).Msg("every command will be refused: --limit-memory and --limit-pids need what this guest does not have")
	}
	endpoints, err = bind.listen(ctx, endpoints, addresses)
	if err != nil || ctx.Err() != nil {
		return err
	}
	log.Info().Str("address", names(endpoints)).Str("version", config.Version).Msg("listening")
	s.warn(log.Logger, spawner)
	config.Log, config.Audit, config.Recording = log.Logger, log.audit, log.recording
	config.Spawner, config.Admit = spawner, admit(policy)
	config.OwnSocket = func(name string) bool { return isOwn(endpoints, name) }
	server = session.NewServer(config)
	d := daemon{log.Logger, bind, server, notifier, log.flush}
	return d.run(ctx, stop, endpoints)
}

// config is what the flags say. The rest is the caller's to fill in.
func (s *serveCommand) config() (c session.Config, err error) {
	v, _ := programVersion()
	c = session.Config{
		Version:       v,
		ShutdownGrace: s.ShutdownGrace,
		LogArgs:       s.LogArgs,
		DisableV1:     s.DisableV1,
	}
	if s.ShutdownGrace < 0 {
		return c, fmt.Errorf("--shutdown-grace %v is negative", s.ShutdownGrace)
	}
	if s.strict() && isNull(os.Stderr) {
		return c, errors.New("--audit strict with a standard error that is closed or /dev/null: there is no log")
	}
	if s.strict() && s.LogLevel.Level > zerolog.InfoLevel {
		return c, fmt.Errorf("--audit strict with --log-level %v: the records of commands are of level info", s.LogLevel.Level)
	}
	if c.Caps, err = s.caps(); err != nil {
		return c, err
	}
	if c.Ceilings, err = s.ceilings(); err != nil {
		return c, err
	}
	c.Policy, err = s.policy()
	return c, err
}

func (s *serveCommand) strict() bool { return s.Audit == "strict" }

// isNull says whether f is /dev/null, which Go opens if a standard stream is closed.
func isNull(f *os.File) bool {
	info, err := f.Stat()
	null, nullErr := os.Stat(os.DevNull)
	return err == nil && nullErr == nil && os.SameFile(info, null)
}

// warn says what of the policy may not be what was meant.
func (s *serveCommand) warn(log zerolog.Logger, spawner *proc.Spawner) {
	policy, _ := s.policy()
	if policy.User != "" {
		if _, err := spawner.Identity(policy.User); err != nil {
			log.Warn().Err(err).Msg("commands whose host names no user, and all forwards, will be refused: --user is not to be had now")
		}
	}
	allowed := func(verb wire.Type) bool { return !slices.Contains(policy.Denied, string(verb)) }
	if !allowed(wire.TypeExec) && allowed(wire.TypeForward) && policy.Forward == nil {
		log.Warn().Msg("exec is denied and forward is not: a service of this guest that trusts local users, such as a container runtime's socket, can still run commands for a host; name what is needed with --forward, or deny it")
	}
}

// addresses are those to listen on, besides the sockets that were passed.
func (s *serveCommand) addresses(passed bool) ([]transport.Address, error) {
	urls := s.Listen
	if len(urls) == 0 && !passed {
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

func admit(p transport.Policy) func(net.Conn) (session.Peer, error) {
	return func(c net.Conn) (session.Peer, error) {
		peer, err := p.Admit(c)
		return peerOf(peer), err
	}
}

func peerOf(p transport.Peer) session.Peer { return session.Peer{Name: p.String(), Class: p.Class()} }
