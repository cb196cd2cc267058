package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/term"
)

// A logLevel is a level by its name. Empty, as an environment may have it, is info.
type logLevel struct{ zerolog.Level }

// UnmarshalText reads the name.
func (l *logLevel) UnmarshalText(name []byte) error {
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
		return fmt.Errorf("unknown level %q: want debug, info, warn or error", name)
	}
	return nil
}

// newLogger logs to stderr: JSON lines, or for people where that is a terminal.
func newLogger(l logLevel) zerolog.Logger {
	zerolog.TimeFieldFormat = time.RFC3339Nano
	var w io.Writer = os.Stderr
	if term.IsTerminal(int(os.Stderr.Fd())) {
		w = zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: time.TimeOnly}
	}
	return zerolog.New(w).Level(l.Level).With().Timestamp().Logger()
}
