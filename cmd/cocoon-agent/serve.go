//go:build linux || windows

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/deadman"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/systemd"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

type serveCommand struct {
	systemFlags `embed:""` // of this operating system
	AllowCID    []word     `name:"allow-cid" placeholder:"N" help:"Accept vsock peers with CID N, in addition to the host (2). Repeatable. CID 1 gives every process in the guest the agent's privileges."`
	DisableV1   bool       `name:"disable-v1" help:"Refuse hosts that use protocol version 1 (JSON lines, one connection per command)."`
	LogLevel    logLevel   `default:"info" placeholder:"LEVEL" env:"AGENT_LOG_LEVEL" help:"Log level: debug, info, warn or error. Default: info."`
	LogFormat   string     `default:"auto" enum:"auto,json,text" placeholder:"FORMAT" help:"Log format: json, text, or auto: text if standard error is a terminal. Default: auto."`

	Settings        string `placeholder:"FILE" help:"Read options from FILE, if it is there: lines COCOON_AGENT_OPTIONS=... and AGENT_LOG_LEVEL=LEVEL. Those of the command line come after them."`
	Check           bool   `help:"Check the other options, and do not run. Exit status: 0, or 2 if they are invalid."`
	AnswerIfInvalid bool   `help:"If other options are invalid, still listen, and refuse all requests but ping. The answers say why. For service files."`

	quotaFlags   `embed:""`
	ceilingFlags `embed:""`
	policyFlags  `embed:""`

	invalid error // what is wrong with other options; nil: nothing
}

// serve serves until ctx ends, which stop makes end no more. Then a signal ends commands at once.
func (s *serveCommand) serve(ctx context.Context, stop func(), config session.Config, log *logbook) (err error) {
	notifier, err := systemd.NewNotifier()
	if err != nil {
		log.Warn().Err(err).Msg("sd_notify disabled")
	}
	var server *session.Server // which listeners do not need before it serves them
	policy := transport.Policy{CIDs: s.allowed(), Refused: func(p transport.Peer, err error) { server.Refused(peerOf(p), err) }}
	bind := binder{log.Logger, policy, s.waiting}
	if s.Settings != "" && os.Getenv(optionsSetting) != "" {
		log.Warn().Str("settings", s.Settings).Msg("the variable " + optionsSetting + " does not count: the settings file does")
	}
	if s.LogLevel.bad != nil {
		log.Warn().Err(s.LogLevel.bad).Msg("log level is info")
	}
	if s.invalid != nil {
		log.Error().Err(s.invalid).Msg("invalid options: all requests will be refused")
	}
	endpoints, err := s.firstEndpoints(bind)
	if err != nil {
		return err
	}
	passed := slices.ContainsFunc(endpoints, func(e endpoint) bool { return e.inherited })
	addresses, err := s.addresses(passed)
	if err != nil {
		return err
	}
	s.collectInTime()
	dead := s.watch(log.Logger)
	defer dead.Stop()
	survive()
	spawner, err := proc.NewSpawner()
	if err != nil {
		return err
	}
	defer spawner.Close()
	defer func() { goBack(err) }() // before that: what was handed over stays open
	if err := useCgroups(log.Logger, spawner, func(left int) {
		log.Warn().Int("left", left).Msg("many cgroups cannot be removed: the oldest stay until the agent is restarted")
	}); err != nil {
		log.Warn().Err(err).Msg("cgroups unavailable: daemonized processes survive their command")
	}
	if err := spawner.CheckLimits(config.Ceilings.Limits()); err != nil {
		log.Error().Err(err).Msg("--limit-memory and --limit-pids unavailable: all commands will be refused")
	}
	if cameBack() {
		addresses = nil // it has those that it had
	}
	all, err := bind.listen(ctx, endpoints, addresses)
	if err != nil && !isTaking() && s.AnswerIfInvalid && s.invalid == nil && !errors.Is(err, transport.ErrInUse) && !errors.Is(err, transport.ErrNoDevice) {
		log.Error().Err(err).Msg("cannot listen as the options say: all requests will be refused")
		config.Policy.Invalid = err
		all, err = bind.listen(ctx, endpoints, usualAddresses(passed))
	}
	if err != nil || ctx.Err() != nil && !isTaking() {
		goBack(err)
		closeAll(endpoints)
		return err
	}
	endpoints = all
	s.warn(log.Logger, spawner)
	log.Info().Str("address", names(endpoints)).Str("version", config.Version).Msg("listening")
	s.listening(log.Logger)
	protect(log.Logger)
	relax(log.Logger)
	config.Log, config.Audit, config.Recording = log.Logger, log.audit, log.recording
	config.Spawner, config.Admit = spawner, admit(policy)
	config.OwnSocket = func(name string) bool { return isOwn(endpoints, name) }
	finish := useGuard(&config, log)
	tell := s.tellOfResumes(ctx, log.Logger, &config)
	server = session.NewServer(config)
	d := daemon{
		log: log.Logger, bind: bind, server: server, notifier: notifier, flush: log.flush, deadman: dead,
		live: liveEndpoints{endpoints: slices.Clone(endpoints)}, stopping: ctx,
	}
	defer s.openControl(&d, spawner, policy)()
	takeState(log.Logger, server, endpoints)
	tell(server)
	finish(server)
	return d.run(ctx, stop)
}

// usualAddresses are those of an agent with no options.
func usualAddresses(passed bool) []transport.Address {
	addresses, _ := new(systemFlags).addresses(passed) // no error: the usual one is right
	return addresses
}

// config is what the flags say. The rest is the caller's to fill in.
func (s *serveCommand) config() (c session.Config, err error) {
	v, _ := programVersion()
	c = session.Config{
		Version:       v,
		ShutdownGrace: s.grace(),
		LogArgs:       s.LogArgs,
		DisableV1:     s.DisableV1,
	}
	if s.LogLevel.bad != nil && (s.Check || !s.AnswerIfInvalid) {
		return c, s.LogLevel.bad
	}
	if err := s.check(s.strict()); err != nil {
		return c, err
	}
	if s.strict() && s.LogLevel.Level > zerolog.InfoLevel {
		return c, fmt.Errorf("--audit strict needs --log-level info or debug, not %v", s.LogLevel.Level)
	}
	if c.Quotas, err = s.quotas(); err != nil {
		return c, err
	}
	if c.Ceilings, err = s.ceilings(); err != nil {
		return c, err
	}
	if err := c.Ceilings.Limits().Check(); err != nil {
		return c, fmt.Errorf("--limit-memory, --limit-pids: %w", err)
	}
	if _, err := s.addresses(false); err != nil {
		return c, err
	}
	c.Policy, err = s.bounded()
	c.Policy.Invalid = s.invalid
	c.FilesWorker = s.filesWorker()
	return c, err
}

// bounded is policy, which denies files if it denies exec and --files-root does not bound them:
// whoever writes any file can run commands.
func (s *serveCommand) bounded() (p session.Policy, err error) {
	p, err = s.policy()
	if slices.Contains(p.Denied, string(wire.TypeExec)) && !slices.Contains(p.Denied, string(wire.TypeFiles)) && !s.boundsFiles() {
		p.Denied = append(slices.Clip(p.Denied), string(wire.TypeFiles))
	}
	return p, err
}

// watch has the agent ended if its goroutines do not run any more, or do not take a
// SIGTERM that has been asked for by then. The caller stops that.
func (s *serveCommand) watch(log zerolog.Logger) *deadman.Deadman {
	d, err := deadman.Start(s.grace(), watchSpeed)
	if err != nil {
		log.Warn().Err(err).Msg("no watchdog thread: an agent that hangs may not be ended")
	}
	return d
}

// logStyle is how the log is written.
func (s *serveCommand) logStyle() logStyle { return logStyle{s.LogLevel.Level, s.LogFormat} }

func (s *serveCommand) strict() bool { return s.Audit == "strict" }

// warn logs what this guest lacks, and what of the policy may not be what was meant.
func (s *serveCommand) warn(log zerolog.Logger, spawner *proc.Spawner) {
	if way, why := spawner.StartWay(); why != nil {
		log.Warn().Str("start", way).Err(why).Msg("no clone3 with close_range: a command whose start hangs can hold up the agent")
	}
	warnOfSystem(log)
	policy, _ := s.bounded()
	if policy.User != "" {
		if _, err := spawner.Identity(policy.User); err != nil {
			log.Warn().Err(err).Msg("--user not found: forwards, and commands without a user, will be refused")
		}
	}
	allowed := func(verb wire.Type) bool { return !slices.Contains(policy.Denied, string(verb)) }
	if !allowed(wire.TypeExec) && allowed(wire.TypeForward) && policy.Forward == nil {
		log.Warn().Msg("exec is denied but forward is allowed: hosts can still run commands through a local service such as a container runtime; restrict --forward, or deny forward")
	}
}

func (s *serveCommand) allowed() []uint32 {
	var cids []uint32
	for _, cid := range s.AllowCID {
		cids = append(cids, uint32(cid))
	}
	return cids
}

func admit(p transport.Policy) func(net.Conn) (session.Peer, error) {
	return func(c net.Conn) (session.Peer, error) {
		peer, err := p.Admit(c)
		return peerOf(peer), err
	}
}

func peerOf(p transport.Peer) session.Peer { return session.Peer{Name: p.String(), Class: p.Class()} }
