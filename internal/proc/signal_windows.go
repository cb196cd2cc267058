package proc

import (
	"fmt"
	"strings"
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
	case signalINT:
		if p.terminal != nil {
			return p.terminal.interrupt()
		}
		err := interrupt(p.pid)
		if err != nil && p.hasExited() {
			return ErrExited
		}
		return err
	default:
		_, err := parseSignal(string(sig))
		return err
	}
}
