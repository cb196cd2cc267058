package proc

import (
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/proc/cgroup"
)

// Monotonic returns the time of a clock that all programs of the guest share, and that
// nobody sets. It is that of this program alone on systems other than Linux.
func Monotonic() time.Duration { return monotonic() }

// A Saved is a [Process] of a program that executes another one in its place. Its numbers are
// descriptors, which both programs have; -1 stands for none.
type Saved struct {
	PID, PIDFD            int
	Stdin, Stdout, Stderr int // of a terminal all its master; -1: not wanted, or closed
	Terminal              bool

	// Output that was read and that nobody has taken.
	StdoutRest, StderrRest []byte `json:",omitempty"`

	InputEnded bool          `json:",omitempty"` // the process has been told of the end of its input
	Asked      bool          `json:",omitempty"` // see [Process.Terminated]
	Told       bool          `json:",omitempty"` // the tree has got the signals that ask it to end
	KillAt     int64         `json:",omitempty"` // when it is killed that is being terminated: see [Monotonic]; 0: it is not
	Cgroup     *cgroup.Saved `json:",omitempty"` // nil: none

	Notes                      []Note `json:",omitempty"`
	NoCgroup, HomeErr, Retried string `json:",omitempty"` // empty: no error
}

// Descriptors returns those that a Saved names.
func (s *Saved) Descriptors() (all []int) {
	all = []int{s.PIDFD, s.Stdin, s.Stdout, s.Stderr}
	if s.Cgroup != nil {
		all = append(all, s.Cgroup.Descriptors()...)
	}
	return all
}

// A SavedSpawner is what a [Spawner] has besides its processes.
type SavedSpawner struct {
	OOMScore *int              // that the program was started with; nil: it has not changed it
	Cgroups  *cgroup.SavedPool // nil: none
}

// Descriptors returns those that a SavedSpawner names.
func (s *SavedSpawner) Descriptors() []int {
	if s.Cgroups == nil {
		return nil
	}
	return []int{s.Cgroups.Lock}
}

// Suspend has Wait and the CopyTo of the outputs return [ErrSuspended] soon, until Resume, and has the
// input take no more: see [LeftError]. It loses nothing that the process has written. A Terminate that is
// sending its signals is waited for, and a later one waits for Resume.
func (p *Process) Suspend() { p.suspend() }

// Resume undoes Suspend. Wait, CopyTo and CopyFrom have returned.
func (p *Process) Resume() { p.resume() }

// Save returns what another program needs to go on with a process that is suspended. The
// descriptors stay this program's. The error says why it cannot be done.
func (p *Process) Save() (*Saved, error) { return p.save() }

// Save returns what the Spawner has. No start may be under way.
func (s *Spawner) Save() (*SavedSpawner, error) { return s.save() }

// Restore is [Spawner.UseCgroups] for a program that was executed in the place of another: it
// goes on with the other's. processes are those that [Spawner.Adopt] is called for later. All
// other children are ended, and what lives in other cgroups; strays says what that was.
func (s *Spawner) Restore(saved *SavedSpawner, processes []*Saved, full func(left int)) (strays []string, err error) {
	return s.restore(saved, processes, full)
}

// Adopt returns a process that another program has saved. Its descriptors are the Process's.
func (s *Spawner) Adopt(saved *Saved) (*Process, error) { return s.adopt(saved) }

// Gone returns a process that was reaped. Only its pid is known.
func Gone(pid int) *Process {
	p := &Process{pid: pid}
	p.gone()
	return p
}
