package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

// nonblocking has an open of a pipe not wait for its other end.
const nonblocking = unix.O_NONBLOCK

// systemFlags are those that "serve" has on Linux alone.
type systemFlags struct {
	Port          *word         `xor:"listen" placeholder:"N" help:"Listen on this vsock port, on every CID of the guest. Default: 1024, unless systemd passes sockets."`
	Listen        []string      `xor:"listen" sep:"none" placeholder:"URL" help:"Listen on vsock://:PORT or unix:///PATH instead. Sockets passed by systemd are used too. Repeatable."`
	Init          bool          `help:"Be the init of a guest that has no other: as process 1, mount what is missing, run the agent again whenever it ends, and reap orphans. SIGTERM and SIGINT reboot the guest, SIGUSR1 halts it, and SIGUSR2 powers it off."`
	ReadyFD       *int          `name:"ready-fd" placeholder:"N" help:"Write a line end to descriptor N once the agent listens, and close it: readiness for s6 and others."`
	Control       string        `placeholder:"PATH" help:"Listen on a Unix socket at PATH, with mode 0600, for \"cocoon-agent upgrade\"."`
	Announce      string        `placeholder:"URL" help:"Connect to vsock://2:PORT, a port of the host, or unix:///PATH once the agent is ready, and again after a restore, to tell the host (\"wait --announced\")."`
	ResumeCounter string        `placeholder:"PATH" help:"Write to PATH how many times the VM has been resumed (reseed). Programs in the guest can watch the file."`
	FilesRoot     *string       `name:"files-root" placeholder:"DIR" help:"Hosts read and write files only below DIR, which is the root of their paths (cp). Commands are not bound by it. Default: /."`
	ShutdownGrace time.Duration `default:"5s" help:"On shutdown, time between SIGTERM and SIGKILL for running commands."`
}

func (f *systemFlags) grace() time.Duration { return f.ShutdownGrace }

// check returns what is wrong with the flags. strict: the log must be had.
func (f *systemFlags) check(strict bool) error {
	if f.ShutdownGrace < 0 {
		return fmt.Errorf("--shutdown-grace %v is negative", f.ShutdownGrace)
	}
	if taking != nil || trial {
		f.ReadyFD = nil // the agent before has written there
	}
	for name, path := range map[string]string{"--control": f.Control, "--resume-counter": f.ResumeCounter} {
		if path != "" && !filepath.IsAbs(path) {
			return fmt.Errorf("%s %q: want an absolute path", name, path)
		}
	}
	if f.Announce != "" {
		if _, err := parseAnnounce(f.Announce); err != nil {
			return fmt.Errorf("--announce: %w", err)
		}
	}
	if f.FilesRoot != nil && !filepath.IsAbs(*f.FilesRoot) {
		return fmt.Errorf("--files-root %q: want an absolute path", *f.FilesRoot)
	}
	if f.ReadyFD != nil {
		if *f.ReadyFD < 3 {
			return fmt.Errorf("--ready-fd %d: want 3 or more", *f.ReadyFD)
		}
		if !isForWriting(*f.ReadyFD) {
			return fmt.Errorf("--ready-fd %d: not open for writing", *f.ReadyFD)
		}
	}
	if strict && isNull(os.Stderr) {
		return errors.New("--audit strict needs a log: standard error is closed or /dev/null")
	}
	return nil
}

// isForWriting reports whether a descriptor was passed to this program, which can write to it. Those
// that Go's runtime has opened are closed when a program is executed.
func isForWriting(fd int) bool {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || own&unix.FD_CLOEXEC != 0 {
		return false
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_ACCMODE != unix.O_RDONLY
}

// boundsFiles reports whether the operator has said which files hosts may have.
func (f *systemFlags) boundsFiles() bool { return f.FilesRoot != nil }

// waiting does nothing: whoever waits for the agent waits until it listens.
func (f *systemFlags) waiting() {}

// listening tells whoever has started the agent that it listens.
func (f *systemFlags) listening(log zerolog.Logger) {
	if f.ReadyFD == nil {
		return
	}
	fd := *f.ReadyFD
	f.ReadyFD = nil
	err := unix.SetNonblock(fd, true) // a pipe that is full must not hold up the agent
	if err == nil {
		_, err = unix.Write(fd, []byte("\n"))
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		log.Warn().Err(err).Int("fd", fd).Msg("--ready-fd: cannot tell that the agent listens")
	}
}

// noDevice says what to do about a vsock device that has not come.
func noDevice(err error, waited time.Duration) error {
	return fmt.Errorf("%w after %v: add a vsock device to the VM, and load vmw_vsock_virtio_transport in the guest", err, waited)
}

// Help is what --help says besides the flags.
func (*serveCommand) Help() string {
	return `Every peer that may connect can run commands with the agent's privileges. Over vsock
only the host may connect. A Unix socket has mode 0600: only root and the agent's
own user may connect.

The agent logs JSON lines to standard error, or text if that is a terminal. Each
command is logged before it starts, when it has started, and when it has ended.

If systemd passes sockets (LISTEN_FDS), the agent uses them instead of vsock port
1024, and listens on --port or --listen in addition. It notifies the service manager
(NOTIFY_SOCKET, WATCHDOG_USEC). An agent that hangs aborts with SIGABRT, so that the
service manager restarts it.

On SIGTERM or SIGINT the agent refuses new commands. Running commands get SIGTERM,
and SIGKILL after --shutdown-grace. Their exit statuses are still sent. A second
SIGTERM or SIGINT kills them at once, and a third one the agent. Exit status:

  0  shut down by a signal
  1  failed; the log has the reason
  2  invalid command line`
}

// Run serves until a signal ends it.
func (s *serveCommand) Run() (err error) {
	switch first := os.Getpid() == 1 && !s.Check; {
	case s.Init && !s.Check, first && isFirstNamespace():
		return s.runInit()
	case first:
		return runAbove()
	}
	if taking != nil {
		defer func() { taking.reason = err }()
	}
	if taking != nil && taking.rest == nil {
		if err := taking.read(); err != nil {
			return err
		}
	}
	config, err := s.checked()
	if err == nil && trial {
		err = tryState(os.Stdin, os.Stdout)
	}
	if err != nil || s.Check || trial {
		return asUsage(err)
	}
	log := openLog(s.logStyle(), s.strict())
	defer log.close()
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		signal.Ignore(syscall.SIGHUP) // which says that a terminal has gone, or is meant for another daemon
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return s.serve(ctx, stop, config, log)
}

// checked is config: Linux has all of it.
func (s *serveCommand) checked() (session.Config, error) { return s.config() }

// isNull says whether f is /dev/null, which Go opens if a standard stream is closed.
func isNull(f *os.File) bool {
	info, err := f.Stat()
	null, nullErr := os.Stat(os.DevNull)
	return err == nil && nullErr == nil && os.SameFile(info, null)
}

// fewFiles is how many descriptors an agent with a few commands needs.
const fewFiles = 256

// warnOfSystem logs what the system has too little of.
func warnOfSystem(log zerolog.Logger) {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err == nil && files.Cur < fewFiles {
		log.Warn().Uint64("limit", files.Cur).Uint64("wanted", fewFiles).Msg("few descriptors (RLIMIT_NOFILE): the agent may not be able to serve anybody")
	}
}

// addresses are those to listen on, besides the sockets that were passed.
func (f *systemFlags) addresses(passed bool) ([]transport.Address, error) {
	urls := f.Listen
	if len(urls) == 0 && !passed {
		urls = []string{"vsock://"}
	}
	if f.Port != nil {
		urls = []string{fmt.Sprintf("vsock://:%d", *f.Port)}
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

// firstEndpoints are those that are there when the agent starts: of the agent before, or of
// systemd.
func (s *serveCommand) firstEndpoints(b binder) ([]endpoint, error) {
	if taking == nil {
		return b.inherit()
	}
	passed := slices.ContainsFunc(taking.left.Endpoints, func(e savedEndpoint) bool { return e.Inherited })
	addresses, err := s.addresses(passed)
	if err != nil {
		return nil, err
	}
	return taking.endpoints(b, addresses)
}

func useCgroups(log zerolog.Logger, s *proc.Spawner, full func(left int)) error {
	if taking == nil {
		return s.UseCgroups(full)
	}
	return taking.spawner(log, s, full)
}

// takeState goes on with what the agent before has left, if there was one.
func takeState(log zerolog.Logger, s *session.Server, endpoints []endpoint) {
	if taking != nil {
		taking.settle(log, s, endpoints)
	}
}

// openControl listens on the control socket. The caller calls closing in the end.
func (s *serveCommand) openControl(d *daemon, spawner *proc.Spawner, policy transport.Policy) (closing func()) {
	if s.Control == "" {
		return func() {}
	}
	ln, err := listenControl(s.Control, policy)
	if err != nil {
		// The agent is of use without it.
		d.log.Error().Err(err).Msg("control socket unavailable: no upgrade in place")
		return func() {}
	}
	c := &control{
		log: d.log, flush: d.flush, server: d.server, spawner: spawner, notifier: d.notifier, policy: policy,
		live: &d.live, stopping: d.stopping, listener: ln,
	}
	go c.serve() // stopped by closing
	return func() { _ = ln.Close() }
}

// hooks is the directory of programs that the agent runs.
const hooks = "/etc/cocoon-agent"

// tellOfResumes has config's server tell of each resume, and returns what begins with the server: it
// announces the agent until ctx ends.
func (f *systemFlags) tellOfResumes(ctx context.Context, log zerolog.Logger, config *session.Config) (begin func(*session.Server)) {
	config.Hooks = hooks
	var server *session.Server
	announce := func() {}
	count := func() {
		if f.ResumeCounter == "" {
			return
		}
		if err := writeCounter(f.ResumeCounter, server.Identity().Resumes); err != nil {
			log.Error().Err(err).Msg("--resume-counter")
		}
	}
	config.Resumed = func() { count(); announce() }
	return func(s *session.Server) {
		server = s
		count()
		if f.Announce == "" {
			return
		}
		to, _ := parseAnnounce(f.Announce) // check has seen that it is right
		a := newAnnouncer(log, to, s)
		announce = a.resumed
		go a.run(ctx) // stopped by ctx
	}
}
