package clone

import (
	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc/clone/nofile"
)

// A thread is what a child inherits of the thread that makes it, and shall not have. All
// threads of this program are alike in this.
type thread struct {
	blocked      unix.Sigset_t
	capabilities [2]unix.CapUserData
}

func currentThread() (t thread) {
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, nil, &t.blocked)
	_ = unix.Capget(capabilityHeader(), &t.capabilities[0])
	return t
}

func capabilityHeader() *unix.CapUserHeader {
	return &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3} // of the calling thread
}

// inherits says whether there are inheritable capabilities.
func (t *thread) inherits() bool {
	return t.capabilities[0].Inheritable|t.capabilities[1].Inheritable != 0
}

// withoutInheritable returns the capabilities, but for the inheritable ones. This program
// uses none of those.
func (t *thread) withoutInheritable() [2]unix.CapUserData {
	own := t.capabilities
	own[0].Inheritable, own[1].Inheritable = 0, 0
	return own
}

// plain says whether there is nothing that a child must not have.
func (t *thread) plain() bool { return t.blocked == unix.Sigset_t{} && !t.inherits() }

// shed adds the step that does away with inheritable capabilities.
func (t *thread) shed(s *slot) {
	if !t.inherits() {
		return
	}
	head := s.reserve(8, 8)
	*(*unix.CapUserHeader)(s.at(head)) = *capabilityHeader()
	data := s.reserve(24, 8)
	*(*[2]unix.CapUserData)(s.at(data)) = t.withoutInheritable()
	s.call("capset", unix.SYS_CAPSET, uintptr(s.at(head)), uintptr(s.at(data)))
}

// restoredLimit returns the limit of open files that this program was started with, if
// package syscall has raised it since. syscall.ForkExec does the same.
func restoredLimit() (unix.Rlimit, bool) {
	was, ok := nofile.Initial()
	var is unix.Rlimit
	if !ok || unix.Getrlimit(unix.RLIMIT_NOFILE, &is) != nil || is.Max != was.Hard || is.Cur == was.Soft {
		return unix.Rlimit{}, false
	}
	return unix.Rlimit{Cur: was.Soft, Max: was.Hard}, true
}
