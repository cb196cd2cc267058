// Package hangtest makes files whose use hangs, for tests. Only Linux has what it needs,
// and only root may use it: elsewhere tests are skipped.
package hangtest

import "testing"

// A Program is an executable file whose execve(2) hangs, by an fanotify(7) listener that
// does not answer, until SIGKILL ends it.
type Program struct{ program }

// NewProgram returns a copy of /bin/true that hangs. The end of the test releases what
// still hangs.
func NewProgram(tb testing.TB) *Program { tb.Helper(); return newProgram(tb) }

// Path returns the file's name.
func (p *Program) Path() string { return p.path }

// Await waits until one more process hangs in an execve of the program, and returns its
// pid.
func (p *Program) Await(tb testing.TB) (pid int) { tb.Helper(); return p.await(tb) }

// A Mount is a file system, of FUSE, with a server that can stop answering. Its root has
// a directory "dir" and an executable "script" that any user may use.
type Mount struct{ mount }

// NewMount mounts one. The end of the test ends it.
func NewMount(tb testing.TB) *Mount { tb.Helper(); return newMount(tb) }

// Path returns the mount point.
func (m *Mount) Path() string { return m.path }

// Hang has the server read requests from now on and answer none of them. A process that
// waits for an answer to a request that the server has read cannot be killed.
func (m *Mount) Hang() { m.hang() }

// Hanging returns how many requests the server has read since Hang.
func (m *Mount) Hanging() int { return int(m.hanging.Load()) }

// Stop has the server read no requests from now on: a process that waits can be killed.
func (m *Mount) Stop() { m.stop() }

// End ends the server, and all that waits for it with an error.
func (m *Mount) End() { m.end() }
