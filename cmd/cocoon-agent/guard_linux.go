package main

import (
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/freeze"
	"github.com/cocoonstack/cocoon-agent/internal/session"
)

// freezeRecord is the path of the list of what the agent has frozen. It is on a file system that is not frozen. An agent of an
// ordinary user takes the directory that the system makes for that user.
func freezeRecord() string {
	dir := "/run"
	if own := os.Getenv("XDG_RUNTIME_DIR"); own != "" && os.Geteuid() != 0 {
		dir = own
	}
	return filepath.Join(dir, "cocoon-agent", "frozen")
}

// serveGuard is the main function of the guard.
func serveGuard() (status int) { return freeze.Serve(os.Stdin, os.Stdout) }

// useGuard has config's server quiesce the guest by this program, which is found whatever has become of
// its file. It thaws what an agent before has left frozen, and returns what runs that one's hooks, once
// there is a server.
func useGuard(config *session.Config, book *logbook) (finish func(*session.Server)) {
	config.Guard = []string{"/proc/self/exe", freezeGuard}
	config.FreezeRecord = freezeRecord()
	config.HoldLog = book.hold
	found := thawLeft(book.Logger)
	return func(s *session.Server) {
		go func() { // ends with the guard of the agent before
			for found.Guarded {
				<-time.After(guardPoll)
				found = thawLeft(book.Logger)
			}
			if found.Hooks {
				s.FinishQuiesce()
			}
		}()
	}
}

// guardPoll is how often an agent looks whether the guard of another one has ended.
const guardPoll = time.Second

func thawLeft(log zerolog.Logger) freeze.Recovered {
	found, err := freeze.Recover(freezeRecord())
	if found.Thawed != nil {
		log.Warn().Strs("thawed", found.Thawed).Msg("an agent before has left file systems or commands frozen")
	}
	if err != nil {
		log.Error().Err(err).Msg("cannot thaw what an agent before may have left frozen")
	}
	return found
}

// hold has nothing written to the log until release is called.
func (b *logbook) hold() (release func()) {
	b.queue.Hold(lastRecordTime)
	return b.queue.Release
}
