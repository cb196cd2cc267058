package proc

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSignal is Linux's SIGRTMAX.
const maxSignal = 64

func parseSignal(s string) (Signal, error) {
	number, err := signalNumber(s)
	if err != nil {
		return "", err
	}
	return Signal(signalName(number)), nil
}

// signalNumber takes what [ParseSignal] takes.
func signalNumber(s string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 1 || n > maxSignal {
			return 0, invalidError{fmt.Errorf("unknown signal %d: want 1 to %d", n, maxSignal)}
		}
		return syscall.Signal(n), nil
	}
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	return 0, invalidError{fmt.Errorf("unknown signal %.64q", s)}
}

// signalName returns the name of a signal without SIG, or its number if it has
// none.
func signalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return strings.TrimPrefix(name, "SIG")
	}
	return strconv.Itoa(int(sig))
}

func signalWaits(Signal) bool { return false }
