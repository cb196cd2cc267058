package proc

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/windows"
)

// The signals that an agent for Windows knows, by Linux's names and numbers.
const (
	signalINT  Signal = "INT"
	signalKILL Signal = "KILL"
	signalTERM Signal = "TERM"
)

func parseSignal(s string) (Signal, error) {
	switch strings.TrimPrefix(strings.ToUpper(s), "SIG") {
	case "INT", "2":
		return signalINT, nil
	case "KILL", "9":
		return signalKILL, nil
	case "TERM", "15":
		return signalTERM, nil
	default:
		return "", fmt.Errorf("%w: signal %.64q: a Windows guest has INT, TERM and KILL", ErrUnsupported, s)
	}
}

// signal sends INT as Ctrl-C to the console of the process. TERM and KILL end the tree: no
// program can tell one from the other but by the exit code.
func (p *Process) signal(sig Signal) error {
	if sig == signalINT {
		return p.interrupt()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped || p.hasExited() {
		return ErrExited
	}
	switch sig {
	case signalTERM:
		return p.job.terminate(codeTerminated)
	case signalKILL:
		return p.job.terminate(codeKilled)
	default:
		_, err := parseSignal(string(sig))
		return err
	}
}

// signalWaits: INT waits for a helper, or for room in a terminal's input.
func signalWaits(sig Signal) bool { return sig == signalINT }

// interrupt sends Ctrl-C, one at a time. It holds no lock meanwhile, but a handle: while there is
// one, nobody else gets the process's pid.
func (p *Process) interrupt() error {
	if !p.interrupting.TryLock() {
		return fmt.Errorf("%w: another interrupt is on its way", ErrResources)
	}
	defer p.interrupting.Unlock()
	held, err := p.hold()
	if err != nil {
		return err
	}
	defer func() { _ = windows.CloseHandle(held) }()
	if p.terminal != nil {
		return p.terminal.interrupt()
	}
	err = interrupt(p.pid)
	if state, waitErr := windows.WaitForSingleObject(held, 0); err != nil && waitErr == nil && state == windows.WAIT_OBJECT_0 {
		return ErrExited
	}
	return err
}

// hold returns another handle of the process, if it runs.
func (p *Process) hold() (held windows.Handle, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped || p.hasExited() {
		return 0, ErrExited
	}
	self := windows.CurrentProcess()
	err = windows.DuplicateHandle(self, p.handle, self, &held, 0, false, windows.DUPLICATE_SAME_ACCESS)
	return held, os.NewSyscallError("DuplicateHandle", err)
}
