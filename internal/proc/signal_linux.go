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

// ParseSignal parses a signal: a name, with or without SIG, in any case, or a
// number from 1 to 64.
func ParseSignal(s string) (syscall.Signal, error) {
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

// SignalName returns the name of a signal without SIG, or its number where it
// has none.
func SignalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return strings.TrimPrefix(name, "SIG")
	}
	return strconv.Itoa(int(sig))
}
