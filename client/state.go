package client

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A ProcessState says how a command ended. Of its methods only ExitCode and String
// allow a nil ProcessState.
type ProcessState struct {
	pid    int
	exited wire.Exited

	// wide says that the code has 32 bits without a sign, as on Windows. Windows guests
	// announce it by their greeting; version 1 has no greeting, so any of its guests
	// may have one.
	wide bool
}

// newProcessState makes one of a record that checkExited has let pass.
func newProcessState(pid int, m *wire.Exited, h Hello) *ProcessState {
	s := &ProcessState{pid: pid, exited: *m}
	s.exited.Signal = printable(m.Signal, maxName)
	s.exited.Reason = wire.Reason(printable(string(m.Reason), maxName))
	s.exited.Message = printable(m.Message, maxMessage)
	s.wide = h.OS == windows || h.Protocol == Protocol1 && m.Reason == wire.ReasonExit
	return s
}

// Pid returns the pid of the command's process in the guest.
func (s *ProcessState) Pid() int { return s.pid }

// ExitCode returns the exit code, or -1 if a signal ended the command. If s is nil, it
// also returns -1: the command has not ended, or it is not known how. A code is 0 to
// 255. For a command on Windows, as in os/exec, it is 0 to 4294967295.
func (s *ProcessState) ExitCode() int {
	switch {
	case s == nil:
		return -1
	case s.wide:
		return int(uint32(s.exited.Code))
	default:
		return s.exited.Code
	}
}

// ExitStatus returns the exit code as a shell has it, 0 to 255: 128+n for signal
// n, and for a code above 255 its low byte, or 1 if that is 0. It is -1 if a signal
// ended the command and an agent that speaks version 1 does not say which.
func (s *ProcessState) ExitStatus() int {
	code := s.exited.Code
	switch {
	case s.exited.SignalNumber != 0:
		return 128 + s.exited.SignalNumber
	case s.wide && (code < 0 || code > 255):
		return max(int(byte(code)), 1)
	default:
		return code
	}
}

// Exited returns true, also if a signal ended the command, unlike os.ProcessState's:
// the command has ended and its status is known. It serves users of
// k8s.io/utils/exec.ExitError, who ignore the status without it.
func (s *ProcessState) Exited() bool { return true }

// Success reports whether the command exited by itself, with code 0. A command that was
// ended, by its Timeout for example, may exit with code 0, too: that is not success. Output
// may be missing all the same: only a nil error of Wait means that it is not.
func (s *ProcessState) Success() bool { return s.exitedWith0() && s.Reason() == ReasonExit }

func (s *ProcessState) exitedWith0() bool { return s.exited.Code == 0 && s.exited.SignalNumber == 0 }

// Signal returns the name, without SIG, of the signal that ended the command,
// or "".
func (s *ProcessState) Signal() string { return s.exited.Signal }

// CoreDumped says whether the signal left a core dump.
func (s *ProcessState) CoreDumped() bool { return s.exited.CoreDumped }

// OOMKilled says whether the kernel has killed the command because it had used
// up [Limits.Memory].
func (s *ProcessState) OOMKilled() bool { return s.exited.OOMKilled }

// StdoutBytes returns how many bytes of its standard output the agent has sent. If the
// command had a terminal, these are the terminal's.
func (s *ProcessState) StdoutBytes() uint64 { return s.exited.StdoutBytes }

// StderrBytes returns how many bytes of its standard error the agent has sent.
func (s *ProcessState) StderrBytes() uint64 { return s.exited.StderrBytes }

// A Reason is why a command ended.
type Reason string

// The reasons. A later agent may have others.
const (
	ReasonExit     Reason = Reason(wire.ReasonExit)     // by itself
	ReasonSignal   Reason = Reason(wire.ReasonSignal)   // by a signal that the agent did not send to end it
	ReasonTimeout  Reason = Reason(wire.ReasonTimeout)  // [Cmd.Timeout] was over
	ReasonKilled   Reason = Reason(wire.ReasonKilled)   // its context ended, Kill was called, or its host went away
	ReasonShutdown Reason = Reason(wire.ReasonShutdown) // the agent shut down
	ReasonLimit    Reason = Reason(wire.ReasonLimit)    // the agent had no memory for input that it did not read
)

// Reason returns why the command ended.
func (s *ProcessState) Reason() Reason { return Reason(s.exited.Reason) }

// OutputCut says whether processes that the command left behind may have
// written more than the agent waited for.
func (s *ProcessState) OutputCut() bool { return s.exited.Cut }

// UserTime returns the CPU time in user mode of the command and the children
// that it waited for.
func (s *ProcessState) UserTime() time.Duration {
	return microseconds(s.exited.UserUS)
}

// SystemTime returns the CPU time in the kernel of the command and the children that it
// waited for.
func (s *ProcessState) SystemTime() time.Duration {
	return microseconds(s.exited.SystemUS)
}

// microseconds returns n of them, or the longest time that a Duration has.
func microseconds(n uint64) time.Duration {
	return time.Duration(min(n, uint64(math.MaxInt64/time.Microsecond))) * time.Microsecond
}

// MaxRSS returns the largest resident set, in bytes. In Linux guests it is never less than the
// agent's own, which the kernel counts until execve(2).
func (s *ProcessState) MaxRSS() uint64 { return s.exited.MaxRSS }

// String says how the command ended.
func (s *ProcessState) String() string {
	if s == nil {
		return "<nil>"
	}
	text := fmt.Sprintf("exit status %d", s.ExitCode())
	if s.wide && s.ExitStatus() != s.ExitCode() {
		text = fmt.Sprintf("exit status 0x%08x", uint32(s.exited.Code)) // as Windows' are written
	}
	if s.exited.SignalNumber != 0 {
		text = "signal " + cmp.Or(s.exited.Signal, strconv.Itoa(s.exited.SignalNumber))
	}
	if s.exited.SignalNumber == 0 && s.exited.Code == -1 && !s.wide { // all that version 1 says
		text = "ended by a signal"
	}
	if s.exited.Message != "" {
		text += ": " + s.exited.Message
	}
	if s.exited.OOMKilled {
		text += " (out of memory)"
	}
	if s.exited.CoreDumped {
		text += " (core dumped)"
	}
	switch s.exited.Reason {
	case wire.ReasonTimeout:
		text += " (timed out)"
	case wire.ReasonKilled:
		text += " (ended by the host)"
	case wire.ReasonShutdown:
		text += " (agent shut down)"
	case wire.ReasonLimit:
		text += " (ended by the agent: memory for unread input exhausted)"
	case wire.ReasonExit, wire.ReasonSignal, wire.ReasonLost:
	default:
		if s.exitedWith0() { // else the text would report success
			text += fmt.Sprintf(" (reason %q)", s.exited.Reason)
		}
	}
	return text
}
