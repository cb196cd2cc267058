// Package freeze makes the guest hold still for a copy of its disks: commands, by their control
// groups, and file systems. A process of its own, the guard, does it, and sees to it that all
// goes on: when it is told to, when the time is over, and when the agent has ended.
package freeze

import (
	"os"
	"time"
)

// MaxTime is how long the guest may hold still.
const MaxTime = 10 * time.Minute

// A Request says what is to hold still.
type Request struct {
	Within  time.Duration // after which it all goes on
	Groups  []string      // directories of control groups, whose processes stop
	Mounts  []string      // mount points of file systems, in the order in which they are frozen
	Special []string      // what is said of others, which are not
	Record  string        // a file that has what is frozen, for [Recover]; empty: there is none
}

// Supported reports whether this system has what a guard needs.
func Supported() bool { return supported }

// Mounts returns the mount points of the file systems that can be frozen and are written to, in
// the order in which that is done. Those that were mounted last come first: they may lie in files of
// the others. special names file systems that are written to and cannot be frozen.
func Mounts() (points, special []string, err error) { return mounts() }

// Recover has all go on that a record names, and removes the record. It returns what had to be
// thawed. A record that is not there names nothing. One whose guard lives is left to it.
func Recover(record string) (thawed []string, err error) { return recoverFrom(record) }

// A Step is what has become of one kind of what was to hold still.
type Step struct {
	Name    string `json:"name"` // one of those below
	Changed bool   `json:"changed,omitempty"`
	Note    string `json:"note,omitempty"`
	Failed  string `json:"failed,omitempty"` // why it has not been frozen; empty: it was
	Denied  bool   `json:"denied,omitempty"` // that is for lack of permission
}

// The names of steps, in their order.
const (
	StepGuard       = "guard" // only if it has failed
	StepExecs       = "execs"
	StepSync        = "sync"
	StepFileSystems = "file_systems"
)

// An End says why all goes on.
type End string

// The ends.
const (
	Told     End = "host"    // Thaw was called
	TimeOut  End = "timeout" // the time was over
	Restored End = "restore" // the kernel says that the VM was restored
	AgentEnd End = "agent"   // the agent has ended
	Failure  End = "failed"  // a step failed
	GuardEnd End = "guard"   // the guard was killed, and Recover has been called
)

// A Guard is the process, for the agent. Its methods may be called at any time.
//
//	started → frozen → ended
//	started → ended
type Guard struct{ guard }

// Start starts the guard, which argv runs, and has it freeze what r says. The guard ends by itself;
// Ended tells when.
func Start(argv []string, r Request) (*Guard, error) { return start(argv, r) }

// Freeze waits until all holds still, or does not, and returns the steps. The error says that the
// guard has ended. It is called once.
func (g *Guard) Freeze() ([]Step, error) { return g.freeze() }

// Extend gives the guest as much time as if it had begun to hold still now.
func (g *Guard) Extend(within time.Duration) { g.extend(within) }

// Thaw has all go on, without waiting: Ended is closed when it does.
func (g *Guard) Thaw() { g.thaw() }

// Ended is closed when all goes on.
func (g *Guard) Ended() <-chan struct{} { return g.ended }

// Outcome says why all goes on, and what could not be thawed. It is called after Ended.
func (g *Guard) Outcome() (End, error) { return g.outcome() }

// Serve is the guard's main function. It returns its exit status.
func Serve(in, out *os.File) int { return serve(in, out) }
