package session

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// filesCommand is what lists of execs call the process of a files request.
const filesCommand = "files"

// files begins an execution whose process is the agent's own program. It touches files with
// the rights of the user; the agent itself touches none.
func (c *conn) files(m *wire.Files, cost int) error {
	if c.server.FilesWorker == nil {
		c.mux.Release(cost)
		return c.reject(m, fmt.Errorf("%w: this agent has no files", errUnsupported))
	}
	exec := &wire.Exec{
		Head: m.Head, Argv: c.server.FilesWorker(m), ClearEnv: true,
		User: m.User, Stdin: m.Stdin, Stdout: m.Stdout,
	}
	return c.execute(m, exec, cost)
}

func checkFiles(m *wire.Files) error {
	if m.Stdin == 0 || m.Stdout == 0 || m.Stdin == m.Stdout {
		return fmt.Errorf("%w: files without two streams", errBadRequest)
	}
	return nil
}

// aboutFiles is the description of a files request.
type aboutFiles struct {
	id       uint64
	op, user string
	path, to string // empty, unless the operator wants arguments logged
}

func (s *Server) describeFiles(m *wire.Files) *aboutFiles {
	a := &aboutFiles{id: m.ID, op: clip(m.Op), user: clip(m.User)}
	if s.LogArgs {
		a.path, a.to = clipTo(m.Path, loggedArgBytes), clipTo(m.To, loggedArgBytes)
	}
	return a
}

func (a *aboutFiles) add(e *zerolog.Event) *zerolog.Event {
	e = e.Uint64("files", a.id).Str("op", a.op).Str("user", a.user)
	if a.path != "" {
		e = e.Str("path", a.path)
	}
	if a.to != "" {
		e = e.Str("to", a.to)
	}
	return e
}

// A filesReport is an execution's for a files request.
type filesReport struct {
	label   *aboutFiles
	summary summary
}

// serveFiles makes e an execution of a files request. It is called before e has a job.
func (e *execution) serveFiles(m *wire.Files) {
	m.User = e.req.User // with the policy's
	e.files = &filesReport{label: e.server.describeFiles(m)}
	e.verb, e.about = wire.TypeFiles, e.files.label
	e.label.argv0 = filesCommand
}

// record tells the log what has become of a transfer. It is the only record of it.
func (f *filesReport) record(e *execution, exit *job.Exit) {
	record := f.label.add(e.audit.Info()).Int("pid", e.job.PID()).
		Int("code", exit.Code).Str("signal", exit.SignalName).Str("reason", string(exit.Reason)).
		Uint64("out_bytes", exit.Stdout)
	if files, data, failed, ok := f.summary.counts(); ok {
		record = record.Uint64("copied_files", files).Uint64("copied_bytes", data).Uint64("failed", failed)
	}
	record.Dur("duration_ms", time.Since(e.job.Begun())).Msg("files ended")
}

// A summary takes the standard error of the process, which says what has been copied.
type summary struct{ text bytes.Buffer }

// maxSummary bounds what the agent keeps of it.
const maxSummary = 64

func (s *summary) Write(p []byte) (int, error) {
	s.text.Write(p[:min(len(p), maxSummary-s.text.Len())])
	return len(p), nil
}

func (*summary) Close() error { return nil }

// counts are three numbers on the first line. The user can have ended the process, or changed what it
// says: these are claims.
func (s *summary) counts() (files, data, failed uint64, ok bool) {
	line, _, _ := bytes.Cut(s.text.Bytes(), []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) != 3 {
		return 0, 0, 0, false
	}
	var n [3]uint64
	for i, field := range fields {
		var err error
		if n[i], err = strconv.ParseUint(string(field), 10, 64); err != nil {
			return 0, 0, 0, false
		}
	}
	return n[0], n[1], n[2], true
}
