package transport

import "errors"

// A permanentError is the error of a Dial that waiting does not help.
type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

func permanent(err error) error { return &permanentError{err} }

// IsPermanent reports whether Dial failed with err for a reason that waiting does not
// help: another user or another program serves the socket, or this system has no such
// transport.
func IsPermanent(err error) bool {
	_, ok := errors.AsType[*permanentError](err)
	return ok
}
