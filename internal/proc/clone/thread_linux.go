package clone

import (
	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc/clone/nofile"
)

// A thread is what a child inherits of the thread that makes it, and shall not have. All
// threads of this program are alike in this, but for the timer slack.
type thread struct {
	blocked      unix.Sigset_t
	capabilities [2]unix.CapUserData

	// slack is the timer slack that a child is to have, in ns; 0: not known. A thread
	// that the runtime's monitor has made has the monitor's (package sysmon).
	slack int
}

func currentThread() (t thread) {
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, nil, &t.blocked)
	_ = unix.Capget(capabilityHeader(), &t.capabilities[0])
	t.slack, _ = unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	return t
}

// setSlack gives the calling thread the timer slack.
func (t *thread) setSlack() {
	if t.slack > 0 {
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(t.slack), 0, 0, 0)
	}
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

// shed adds the steps that do away with inheritable capabilities and another timer slack.
func (t *thread) shed(s *slot) {
	if t.slack > 0 {
		s.add(name{step: "prctl(PR_SET_TIMERSLACK)"}, anyErrno, unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, uintptr(t.slack), 0, 0, 0)
	}
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
