package session

import (
	"errors"

	"github.com/cocoonstack/cocoon-agent/internal/guest"
	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/local"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/netid"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Errors that are answers.
var (
	errBadRequest  = errors.New("bad request")
	errUnsupported = errors.New("not supported by this agent")
)

// kindOf is where the agent's errors become the protocol's.
func kindOf(err error) wire.ErrorKind {
	for _, k := range []struct {
		is   error
		kind wire.ErrorKind
	}{
		{proc.ErrInvalid, wire.BadRequest},
		{proc.ErrNotFound, wire.NotFound},
		{proc.ErrNotExecutable, wire.PermissionDenied},
		{proc.ErrNotPermitted, wire.PermissionDenied},
		{proc.ErrResources, wire.Limit},
		{proc.ErrUnsupported, wire.Unsupported},
		{proc.ErrExited, wire.NotFound},
		{guest.ErrEntropy, wire.BadRequest},
		{guest.ErrHostname, wire.BadRequest},
		{guest.ErrNotPermitted, wire.PermissionDenied},
		{guest.ErrResources, wire.Limit},
		{guest.ErrUnsupported, wire.Unsupported},
		{netid.ErrNotFound, wire.NotFound},
		{local.ErrInvalid, wire.BadRequest},
		{local.ErrBroken, wire.NotFound},
		{local.ErrNotFound, wire.NotFound},
		{local.ErrNotPermitted, wire.PermissionDenied},
		{local.ErrResources, wire.Limit},
		{local.ErrUnsupported, wire.Unsupported},
		{mux.ErrNoStream, wire.BadRequest},
		{job.ErrNotFound, wire.NotFound},
		{job.ErrNoMemory, wire.Limit},
		{job.ErrOtherRequest, wire.BadRequest},
		{job.ErrNotDetached, wire.BadRequest},
		{job.ErrInput, wire.BadRequest},
		{job.ErrRunning, wire.BadRequest},
		{errBadRequest, wire.BadRequest},
		{errUnsupported, wire.Unsupported},
		{errDenied, wire.PermissionDenied},
		{errLimit, wire.Limit},
		{mux.ErrTooManyStreams, wire.Limit},
		{mux.ErrInput, wire.Limit},
		{errShutdown, wire.ShuttingDown},
	} {
		if errors.Is(err, k.is) {
			return k.kind
		}
	}
	return wire.Internal
}

// maxErrorText is how long the text of an answer is, in bytes: it may quote an
// argument of megabytes, and an answer that is too long cannot be sent.
const maxErrorText = 2 << 10

func failure(id uint64, kind wire.ErrorKind, message string) *wire.Error {
	return &wire.Error{Head: wire.Head{ID: id}, Kind: kind, Message: clipTo(message, maxErrorText)}
}

// clip bounds what a host's text adds to a message or a log.
func clip(s string) string { return clipTo(s, 64) }

func clipTo(s string, longest int) string {
	if len(s) > longest {
		return s[:longest] + "…"
	}
	return s
}
