package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

// reportFlags say where the program that runs this one learns the command's end.
type reportFlags struct {
	StatusFD   *word  `name:"status-fd" placeholder:"N" help:"Write JSON lines about the command's start and end to the open file descriptor N, 3 or above (docs/embedding.md)."`
	StatusFile string `name:"status-file" placeholder:"FILE" help:"The same to FILE, which is created or emptied."`
}

// A statusReport is the JSON lines about one command. Names and meanings of its keys are a
// contract (docs/embedding.md); another version of it has another reportVersion.
type statusReport struct {
	to    io.WriteCloser // nil: nobody wants it
	begun time.Time      // when the command started; zero: it has not, as far as we know
}

const reportVersion = 1

func (f *reportFlags) open() (*statusReport, error) {
	switch {
	case f.StatusFD != nil && f.StatusFile != "":
		return nil, misuse("--status-fd and --status-file are mutually exclusive")
	case f.StatusFD != nil:
		file, err := openDescriptor(*f.StatusFD, true)
		if err != nil {
			return nil, misuse("--status-fd %d: %w", *f.StatusFD, err)
		}
		return &statusReport{to: file}, nil
	case f.StatusFile != "":
		file, err := os.Create(f.StatusFile)
		if err != nil {
			return nil, misuse("--status-file: %w", err)
		}
		return &statusReport{to: file}, nil
	default:
		return new(statusReport), nil
	}
}

// close ends it.
func (r *statusReport) close() {
	if r.to != nil {
		r.failed(r.to.Close())
	}
}

// write writes a line. The command goes on if nobody can read it.
func (r *statusReport) write(line any) {
	if r.to != nil {
		r.failed(writeJSON(r.to, line))
	}
}

func (r *statusReport) failed(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "cocoon-agent: status not written:", printable(err.Error()))
		r.to = nil
	}
}

// started tells of a command that runs.
func (r *statusReport) started(cmd *client.Cmd, p client.Protocol) {
	r.begun = time.Now()
	r.write(struct {
		Version  int    `json:"v"`
		Event    string `json:"event"`
		PID      int    `json:"pid"`
		Handle   string `json:"handle"`
		Protocol int    `json:"protocol"`
	}{reportVersion, "started", cmd.PID(), hex.EncodeToString(cmd.Handle()), int(p)})
}

// ended tells of the command's end, and of everything else that err says. The command
// may have ended by itself, and err be about its output.
func (r *statusReport) ended(state *client.ProcessState, err error) {
	exit, exited := errors.AsType[*client.ExitError](err)
	if state == nil && exited { // its start hung
		state = exit.ProcessState
	}
	if state != nil {
		r.exited(state)
	}
	if err == nil || exited {
		return
	}
	status, _ := statusOf(err)
	r.write(struct {
		Version      int    `json:"v"`
		Event        string `json:"event"`
		Kind         string `json:"kind"`
		Message      string `json:"message"`
		MaybeStarted bool   `json:"maybe_started"`
		Status       int    `json:"status"`
	}{reportVersion, "error", errorKind(err), err.Error(), r.maybeStarted(err), status})
}

func (r *statusReport) exited(s *client.ProcessState) {
	elapsed := time.Duration(0)
	if !r.begun.IsZero() {
		elapsed = time.Since(r.begun)
	}
	status := 0
	if !s.Success() {
		status, _ = exitStatus(&client.ExitError{ProcessState: s}, "")
	}
	r.write(struct {
		Version     int     `json:"v"`
		Event       string  `json:"event"`
		PID         int     `json:"pid"`
		Code        int     `json:"code"`
		Status      int     `json:"status"`
		Signal      string  `json:"signal"`
		Reason      string  `json:"reason"`
		OOMKilled   bool    `json:"oom_killed"`
		OutputCut   bool    `json:"output_cut"`
		StdoutBytes uint64  `json:"stdout_bytes"`
		StderrBytes uint64  `json:"stderr_bytes"`
		Elapsed     float64 `json:"elapsed_ms"`
		User        float64 `json:"user_ms"`
		System      float64 `json:"system_ms"`
		MaxRSS      uint64  `json:"max_rss"`
	}{
		reportVersion, "exited", s.Pid(), s.ExitCode(), status, s.Signal(), string(s.Reason()), s.OOMKilled(), s.OutputCut(),
		s.StdoutBytes(), s.StderrBytes(), inMilliseconds(elapsed), inMilliseconds(s.UserTime()), inMilliseconds(s.SystemTime()), s.MaxRSS(),
	})
}

func inMilliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// maybeStarted says whether a command that ended with err may have run.
func (r *statusReport) maybeStarted(err error) bool {
	if early, ok := errors.AsType[*interruptedError](err); ok {
		err = early.err
	}
	_, maybe := errors.AsType[*client.MaybeStartedError](err)
	return maybe || !r.begun.IsZero()
}

// errorKind classes an error that is not the command's exit.
func errorKind(err error) string {
	remote, isRemote := errors.AsType[*client.RemoteError](err)
	switch {
	case is[*usageError](err):
		return "usage"
	case is[*interruptedError](err):
		return "interrupted"
	case errors.Is(err, errLeft), errors.Is(err, errNotEnded), errors.Is(err, client.ErrWaitDelay):
		return "left"
	case is[*client.TruncatedError](err):
		return "truncated"
	case is[*client.MaybeStartedError](err), is[*client.LostExitError](err):
		return "lost"
	case isRemote:
		return string(remote.Kind)
	case is[*client.DialError](err):
		return "connect"
	case errors.Is(err, client.ErrLost):
		return "lost"
	default:
		return "local" // our own input or output
	}
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
