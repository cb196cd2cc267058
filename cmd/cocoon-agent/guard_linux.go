package main

import (
	"os"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/freeze"
	"github.com/cocoonstack/cocoon-agent/internal/session"
)

// freezeRecord has what the agent has frozen. It is where nothing is frozen.
const freezeRecord = "/run/cocoon-agent/frozen"

// serveGuard is the main function of the guard.
func serveGuard() (status int) { return freeze.Serve(os.Stdin, os.Stdout) }

// useGuard has config's server quiesce the guest by this program, which is found whatever has become of
// its file. It thaws what an agent before has left frozen.
func useGuard(config *session.Config, book *logbook) {
	config.Guard = []string{"/proc/self/exe", freezeGuard}
	config.FreezeRecord = freezeRecord
	config.HoldLog = book.hold
	thawLeft(book.Logger)
}

func thawLeft(log zerolog.Logger) {
	thawed, err := freeze.Recover(freezeRecord)
	if thawed != nil {
		log.Warn().Strs("thawed", thawed).Msg("an agent before has left file systems or commands frozen")
	}
	if err != nil {
		log.Error().Err(err).Msg("cannot thaw what an agent before may have left frozen")
	}
}

// hold has nothing written to the log until release is called.
func (b *logbook) hold() (release func()) {
	b.queue.Hold(lastRecordTime)
	return b.queue.Release
}
