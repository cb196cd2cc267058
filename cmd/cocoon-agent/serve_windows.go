package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// nonblocking: files do not wait.
const nonblocking = 0

// systemFlags are those that "serve" has on Windows alone.
type systemFlags struct {
	Port    *word  `placeholder:"N" help:"Listen on this vsock port, on every CID of the guest. Default: 1024."`
	Service bool   `help:"Run as the Windows service cocoon-agent, for its service manager. See the command service."`
	LogFile string `type:"path" placeholder:"FILE" help:"Log to FILE instead of standard error. At 10 MiB it becomes FILE.1, then FILE.2, and so on to FILE.4. Default with --service: logs\\agent.log beside the program."`

	started func() // nil: nobody asks
}

// waiting and listening tell the service manager that the service runs.
func (f *systemFlags) waiting() { f.listening(zerolog.Logger{}) }

func (f *systemFlags) listening(zerolog.Logger) {
	if f.started != nil {
		f.started()
	}
}

// grace: Windows knows no request to end that every program is told.
func (f *systemFlags) grace() time.Duration { return 0 }

// filesWorker returns nil: files are not served on Windows.
func (*systemFlags) filesWorker() func(*wire.Files) []string { return nil }

// check returns what is wrong with the flags. strict: the log must be had.
func (f *systemFlags) check(strict bool) error {
	if strict && f.logPath() == "" {
		if _, err := os.Stderr.Stat(); err != nil {
			return errors.New("--audit strict needs a log: standard error is closed")
		}
	}
	return nil
}

// boundsFiles: there are no files requests on Windows.
func (f *systemFlags) boundsFiles() bool { return true }

// logPath is the file to log to; empty: standard error.
func (f *systemFlags) logPath() string {
	if f.LogFile == "" && f.Service {
		return defaultLogFile()
	}
	return f.LogFile
}

// addresses are those to listen on, besides the sockets that were passed.
func (f *systemFlags) addresses(passed bool) ([]transport.Address, error) {
	if f.Port == nil && passed {
		return nil, nil
	}
	url := "vsock://"
	if f.Port != nil {
		url = fmt.Sprintf("vsock://:%d", *f.Port)
	}
	a, err := transport.ParseAddress(url)
	return []transport.Address{a}, err
}

// inherited has the endpoints of a program that is built for tests; nil: it is not.
var inherited func() ([]endpoint, error)

// inherit takes the sockets that somebody else has bound: nobody does on Windows.
func (binder) inherit() ([]endpoint, error) {
	if inherited == nil {
		return nil, nil
	}
	return inherited()
}

// noDevice says what to do about a vsock device that has not come.
func noDevice(err error, waited time.Duration) error {
	return fmt.Errorf("%w after %v: add a vsock device to the VM, and install virtio-win's viosock driver and its Winsock provider in the guest", err, waited)
}

// Help is what --help says besides the flags.
func (*serveCommand) Help() string {
	return `Every peer that may connect can run commands with the agent's privileges. Over vsock
only the host may connect. The guest needs virtio-win's viosock driver.

The agent logs JSON lines to standard error, or text if that is a terminal. Each
command is logged before it starts, when it has started, and when it has ended.

On Ctrl-C, or when the service is stopped, the agent refuses new commands and ends
those that run. Their exit statuses are still sent. Exit status:

  0  shut down by a signal
  1  failed; the log has the reason
  2  invalid command line`
}

// Run serves until a signal or the service manager ends it.
func (s *serveCommand) Run() error {
	config, err := s.checked()
	if err != nil && !s.AnswerIfInvalid {
		failService(os.Args[1:], err)
	}
	if err != nil || s.Check {
		return asUsage(err)
	}
	if s.Service {
		return s.runService(config)
	}
	log, err := s.openBook()
	if err != nil {
		return err
	}
	defer log.close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return s.serve(ctx, stop, config, log)
}

// checked is config, without what only other systems can do.
func (s *serveCommand) checked() (session.Config, error) {
	config, err := s.config()
	if err == nil && config.Policy.User != "" {
		err = errors.New("--user: on Windows all commands run as the agent does")
	}
	return config, err
}

// openBook opens the log that the flags name.
func (s *serveCommand) openBook() (*logbook, error) {
	path := s.logPath()
	if path == "" {
		return openLog(s.logStyle(), s.strict()), nil
	}
	file, err := openRotating(path)
	if err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	log := openLogTo(file, s.logStyle(), s.strict())
	log.after = file.close
	directory := filepath.Dir(path)
	if who, err := changeableBy(directory); err != nil {
		log.Warn().Err(err).Msg("cannot tell who may change the directory of the log")
	} else if who != "" {
		log.Warn().Str("directory", directory).Str("by", who).Msg("the directory of the log can be changed by others, who could have the agent write elsewhere")
	}
	if err := keepCrashes(filepath.Join(directory, crashLog)); err != nil {
		log.Warn().Err(err).Msg("a crash of the agent would leave no trace")
	}
	return log, nil
}
