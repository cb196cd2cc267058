// Package freeze makes the guest hold still for a copy of its disks: commands, by their control
// groups, and file systems. A process of its own, the guard, does it, and sees to it that all
// goes on: when it is told to, when the time is over, and when the agent has ended.
package freeze

import (
	"os"
	"time"
)

// A Request says what is to hold still.
type Request struct {
	Within      time.Duration // after which it all goes on
	Groups      []string      // directories of control groups, whose processes stop
	FileSystems bool          // all that are written to and can be frozen are frozen
	Mounts      []string      // those at these mount points alone, in this order
	Record      string        // a file that has what is frozen, for [Recover]; empty: there is none
	Hooks       bool          // the agent has something to run when all goes on
}

// A Recovered is what [Recover] has found.
type Recovered struct {
	Thawed  []string // what had to be thawed
	Hooks   bool     // there is something to run, which an agent before has not
	Guarded bool     // a guard lives, and sees to all of it
}

// Recover has all go on that a record names, and removes the record. A record that is not there
// names nothing. One whose guard lives is left to it.
func Recover(record string) (Recovered, error) { return recoverFrom(record) }

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
	GuardEnd End = "guard"   // the guard was told to end by a signal, or was killed and Recover has been called
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

// Extend gives the guest so much time from now on, unless it has more.
func (g *Guard) Extend(within time.Duration) { g.extend(within) }

// Thaw has all go on, without waiting: Ended is closed when it does.
func (g *Guard) Thaw() { g.thaw() }

// Ended is closed when all goes on.
func (g *Guard) Ended() <-chan struct{} { return g.ended }

// Gone is closed when the process has ended, which may be much later: the kernel may not have
// finished a freeze.
func (g *Guard) Gone() <-chan struct{} { return g.gone }

// Outcome says why all goes on, and what could not be thawed. It is called after Ended.
func (g *Guard) Outcome() (End, error) { return g.outcome() }

// Serve is the guard's main function. It returns its exit status.
func Serve(in, out *os.File) int { return serve(in, out) }
