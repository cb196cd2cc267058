//go:build linux || windows

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/term"

	"github.com/cocoonstack/cocoon-agent/internal/logqueue"
	"github.com/cocoonstack/cocoon-agent/internal/session"
)

// A logLevel is a level by its name. Empty, as an environment may have it, is info.
type logLevel struct {
	zerolog.Level
	bad error // the name is unknown. Only the name that counts in the end may fail
}

// UnmarshalText reads the name. kong reads the environment's before the flag's.
func (l *logLevel) UnmarshalText(name []byte) error { //nolint:unparam // encoding.TextUnmarshaler
	*l = logLevel{}
	switch string(name) {
	case "", "info":
		l.Level = zerolog.InfoLevel
	case "debug":
		l.Level = zerolog.DebugLevel
	case "warn":
		l.Level = zerolog.WarnLevel
	case "error":
		l.Level = zerolog.ErrorLevel
	default:
		l.Level = zerolog.InfoLevel
		l.bad = fmt.Errorf("--log-level: unknown level %q: want debug, info, warn or error", name)
	}
	return nil
}

const (
	// recordTime is how long an exec waits until the log has its record, or up to
	// twice as long for a regular file. If the log's reader has taken nothing for
	// as long, it does not wait.
	recordTime = 20 * time.Millisecond

	// strictRecordTime is the same with --audit strict, and then the exec is refused.
	strictRecordTime = time.Second
)

// A logbook is the agent's log.
type logbook struct {
	zerolog.Logger                // of the agent
	audit          zerolog.Logger // of what hosts ask for

	queue  *logqueue.Queue
	strict bool
	after  func() // called when it has been closed; nil: nothing is
}

// A logStyle is what a log has, and how.
type logStyle struct {
	level  zerolog.Level
	format string // auto, json or text
}

// openLog logs to stderr: JSON lines, or for people if that is a terminal. No
// record that is written waits for whoever reads the log.
func openLog(l logStyle, strict bool) *logbook { return openLogTo(os.Stderr, l, strict) }

// openLogTo logs to a file; os.Stderr may be a terminal or the system's journal.
func openLogTo(file io.Writer, l logStyle, strict bool) *logbook {
	zerolog.TimeFieldFormat = time.RFC3339Nano
	zerolog.InterfaceMarshalFunc = marshalEscaped
	book := &logbook{strict: strict}
	book.queue = logqueue.New(file, func(n uint64) {
		book.Warn().Uint64("lost", n).Msg("log records lost: the reader of standard error is too slow, or a write failed")
	})
	isStderr := file == os.Stderr
	terminal := isStderr && term.IsTerminal(int(os.Stderr.Fd()))
	newLogger := func(to io.Writer) zerolog.Logger {
		switch {
		case l.format == "text" || l.format == "auto" && terminal:
			to = zerolog.ConsoleWriter{Out: visible{to}, TimeFormat: time.DateTime, NoColor: !terminal || !showsColours()}
		case isStderr && isJournal(os.Stderr):
			to = prioritized{visible{to}}
		default:
			to = visible{to}
		}
		return zerolog.New(to).Level(l.level).With().Timestamp().Logger()
	}
	book.Logger = newLogger(book.queue.Writer(logqueue.General))
	book.audit = newLogger(book.queue.Writer(logqueue.Audit))
	return book
}

// showsColours reports whether the terminal of this program may be sent the sequences that set
// colours. A console of Windows may not know them.
func showsColours() bool {
	return runtime.GOOS != "windows" && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// A prioritized writer tells systemd's journal the priority of each line, as sd-daemon(3) has it.
type prioritized struct{ visible }

// WriteLevel is zerolog's.
func (p prioritized) WriteLevel(level zerolog.Level, line []byte) (int, error) {
	const failure, warning, informational, debugging = 3, 4, 6, 7
	priority := debugging
	switch {
	case level >= zerolog.ErrorLevel:
		priority = failure
	case level == zerolog.WarnLevel:
		priority = warning
	case level == zerolog.InfoLevel:
		priority = informational
	}
	if _, err := p.Write(append(fmt.Appendf(nil, "<%d>", priority), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// recording is called before a record is written, and what it returns after that.
func (b *logbook) recording() session.Recorded {
	if !b.strict {
		return func(late func(error)) (bool, error) {
			settled, _ := b.queue.Settle(recordTime, func(error) { late(nil) })
			return settled, nil
		}
	}
	lost := b.queue.Lost()
	return func(late func(error)) (bool, error) {
		settled, err := b.queue.Settle(strictRecordTime, late)
		if err == nil && b.queue.Lost() != lost {
			err = errRecordLost
		}
		return settled, err
	}
}

var errRecordLost = errors.New("log records were lost")

// close writes what is left.
func (b *logbook) close() {
	_ = b.queue.Close(lastRecordTime)
	if b.after != nil {
		b.after()
	}
}

// flush does the same before the program is ended from elsewhere.
func (b *logbook) flush() { _ = b.queue.Sync(lastRecordTime) }

// A visible writes JSON, in which it escapes what a terminal obeys and does not
// show: zerolog escapes the control characters of ASCII alone.
type visible struct{ to io.Writer }

func (v visible) Write(p []byte) (int, error) {
	if _, err := v.to.Write(escapeJSON(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// marshalEscaped is json.Marshal and escapeJSON.
func marshalEscaped(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	return escapeJSON(text), err
}
