package main

import (
	"context"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

// On Windows no agent takes the place of another one in its process.

func noteState() {}

func orBack(run func() int) int { return run() }

// firstEndpoints are those that are there when the agent starts.
func (s *serveCommand) firstEndpoints(b binder) ([]endpoint, error) { return b.inherit() }

func useCgroups(_ zerolog.Logger, s *proc.Spawner, full func(left int)) error {
	return s.UseCgroups(full)
}

func goBack(error) {}

func isTaking() bool { return false }

func takeState(zerolog.Logger, *session.Server, []endpoint) {}

// openControl does nothing.
func (s *serveCommand) openControl(*daemon, *proc.Spawner, transport.Policy) (closing func()) {
	return func() {}
}

// trying reports false: likewise.
func trying() bool { return false }

// tellOfResumes does nothing: there are no flags for it.
func (*systemFlags) tellOfResumes(context.Context, zerolog.Logger, *session.Config) (begin func(*session.Server)) {
	return func(*session.Server) {}
}

func cameBack() bool { return false }

func lineBack(args []string) []string { return args }

// noteLine does nothing: no other agent gets it.
func noteLine([]string) {}

// useGuard does nothing: Windows guests cannot be quiesced.
func useGuard(*session.Config, *logbook) (finish func(*session.Server)) {
	return func(*session.Server) {}
}
