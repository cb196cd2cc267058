// Package cgroup gives each process tree a cgroup of version 2, and sets limits in
// it. It makes them below the cgroup that this program is in. Only Linux has
// cgroups: elsewhere [Open] fails.
package cgroup

// Limits bound what all processes of a cgroup may use. Zero: no limit. They must
// be numbers that the kernel takes.
type Limits struct {
	Memory int64 // bytes, file cache included; none of it is swapped
	PIDs   int64 // processes and threads at a time
	CPU    int64 // thousandths of one CPU
}

// A LimitsError says why limits cannot be set.
type LimitsError struct{ Reason error }

func (e *LimitsError) Error() string { return "cannot set limits: " + e.Reason.Error() }

func (e *LimitsError) Unwrap() error { return e.Reason }

// A Pool makes cgroups before they are wanted, and removes them behind. Each is used
// once. It is safe for concurrent use.
type Pool struct{ pool }

// Open makes this program's own part of the hierarchy, and removes what programs
// that were killed have left there. It fails if there is no cgroup v2 with
// cgroup.kill (Linux 5.14) that this program may write to. A goroutine of
// the Pool calls full, once, when more cgroups are left than it tries again. The oldest
// then stay until the next program opens a Pool. The caller closes the Pool.
func Open(full func(left int)) (*Pool, error) { return open(full) }

// CheckLimits returns why no limits can be set in any cgroup of the Pool, or nil.
func (p *Pool) CheckLimits() error { return p.checkLimits() }

// Take returns a cgroup that has the limits, and has had no process. The caller gives
// it back. The error is a [*LimitsError] if a limit cannot be set.
func (p *Pool) Take(l Limits) (*Group, error) { return p.take(l) }

// Give takes a cgroup back once its main process has been reaped, and removes it
// with all cgroups below it. One in which daemons live on is removed when they have
// ended. Give does not wait for that. Nothing of the Group but Members may be called any more.
func (p *Pool) Give(g *Group) { p.give(g) }

// Left returns how many cgroups could not be removed so far, because something lives
// in them as a rule.
func (p *Pool) Left() int { return p.countLeft() }

// Directories returns the cgroups that all others are in. No process is in them itself.
func (p *Pool) Directories() []string { return p.directories() }

// Close removes all cgroups that have been given back, but leaves those in which
// daemons live on to them.
func (p *Pool) Close() error { return p.close() }

// A Group is a cgroup for one process tree. Its methods may be called at any time
// until it is given back, from any goroutine.
type Group struct{ group }

// Path returns the cgroup's directory.
func (g *Group) Path() string { return g.path }

// FD returns the open directory, for clone3(2) to start a process in the cgroup.
func (g *Group) FD() int { return g.fd() }

// Fresh says whether the cgroup was made when it was taken. Others were made before,
// and somebody may have changed or removed them since.
func (g *Group) Fresh() bool { return g.fresh }

// Members returns the pids of the processes in the cgroup, but not of those below it.
func (g *Group) Members() []int { return g.members() }

// Empty says whether no process lives in the cgroup or below it.
func (g *Group) Empty() bool { return g.empty() }

// Spoilt says whether err, of a fork into the cgroup, means that the cgroup takes no
// process. Then it has controllers for cgroups below it, is threaded, is in a hierarchy
// that is read-only by now, or has been removed.
func (g *Group) Spoilt(err error) bool { return g.spoilt(err) }

// Kill sends SIGKILL to everything in the cgroup and below it, forks under way
// included.
func (g *Group) Kill() { g.kill() }

// Late says whether there are limits that [Group.SetLate] must set.
func (g *Group) Late() bool { return len(g.late) > 0 }

// SetLate sets the limits that a child must not have before it has become the
// command. Take has tried that they can be set.
func (g *Group) SetLate() error { return g.setLate() }

// OutOfMemory says whether processes have been killed because the cgroup was at
// its own memory limit. It does not count the guest's lack of memory, nor the limit
// of a cgroup below.
func (g *Group) OutOfMemory() bool { return g.outOfMemory() }

// A Saved is a [Group] of a program that executes another one in its place. Its numbers are
// descriptors, which both programs have.
type Saved struct {
	Path                string
	Dir, Events, Killer int
	Limited             bool
}

// Descriptors returns those that a Saved names.
func (s *Saved) Descriptors() []int { return []int{s.Dir, s.Events, s.Killer} }

// A SavedPool is a [Pool] of such a program, apart from the groups that it has given out.
type SavedPool struct {
	Path    string   // of its directory
	Lock    int      // a descriptor that has it locked
	Made    int      // how many groups there have been, at most
	Limited int64    // and how many with limits
	Left    []string // directories of groups that were given back and are not removed yet
}

// Save returns what another program needs to go on with the Group, which stays this one's.
func (g *Group) Save() *Saved { return g.save() }

// Adopt returns a Group that another program has saved. Its descriptors are the Group's.
func Adopt(s *Saved) *Group { return adopt(s) }

// Save returns what another program needs to go on with the Pool, which stays this one's.
func (p *Pool) Save() *SavedPool { return p.save() }

// OpenSaved is [Open] for a program that was executed in the place of another one, whose Pool and
// Groups were saved. It kills what lives in groups that neither of them names, and
// returns their directories.
func OpenSaved(s *SavedPool, groups []*Saved, full func(left int)) (p *Pool, others []string, err error) {
	return openSaved(s, groups, full)
}
