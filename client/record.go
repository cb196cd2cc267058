package client

import (
	"fmt"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// windows is the OS of a Hello.
const windows = "windows"

// Bounds of an exit record. A guest may send any number. A parent process sees the
// low byte of a status alone, so 256 would be success to it.
const (
	maxExitCode = 255
	maxSignal   = 64 // SIGRTMAX of Linux
	maxName     = 64 // bytes of a signal's name, or a reason
)

// checkExited returns an error that wraps ErrProtocol if no agent that greeted by h can
// mean m. Package v1 checks the records that it makes of version 1.
func checkExited(m *wire.Exited, h Hello) error {
	signaled := m.SignalNumber != 0
	switch {
	case m.Reason == wire.ReasonLost, h.Protocol == Protocol1:
		return nil
	case (m.OOMKilled || m.CoreDumped) && !signaled:
		return fmt.Errorf("%w: exited with oom_killed %t and core_dumped %t but no signal",
			ErrProtocol, m.OOMKilled, m.CoreDumped)
	case h.OS == windows:
		if signaled || m.Signal != "" || m.Reason == wire.ReasonSignal {
			return fmt.Errorf("%w: exited by signal %d in a Windows guest", ErrProtocol, m.SignalNumber)
		}
		if m.Status != 0 && m.Status != uint32(m.Code) {
			return fmt.Errorf("%w: exited with code %d and status %d, which contradict each other", ErrProtocol, m.Code, m.Status)
		}
		return nil
	case m.Code < -1 || m.Code > maxExitCode:
		return fmt.Errorf("%w: exited with code %d: want -1 to %d", ErrProtocol, m.Code, maxExitCode)
	case m.SignalNumber < 0 || m.SignalNumber > maxSignal:
		return fmt.Errorf("%w: exited by signal %d: want 0 to %d", ErrProtocol, m.SignalNumber, maxSignal)
	case signaled != (m.Code == -1), !signaled && m.Signal != "",
		signaled && m.Reason == wire.ReasonExit, !signaled && m.Reason == wire.ReasonSignal:
		return fmt.Errorf("%w: exited with code %d, signal %d %q and reason %q, which contradict each other",
			ErrProtocol, m.Code, m.SignalNumber, printable(m.Signal, maxName), printable(string(m.Reason), maxName))
	}
	return nil
}

// checkStarted returns an error that wraps ErrProtocol if m names no process.
func checkStarted(m *wire.Started) error {
	if m.PID < 1 {
		return fmt.Errorf("%w: started with pid %d", ErrProtocol, m.PID)
	}
	return nil
}
