package proc

// A Signal is the name of a signal, in capitals and without SIG, or its number if it
// has no name: "TERM", "34". Which signals there are depends on the operating system.
type Signal string

// SignalWaits reports whether [Process.Signal] may take long with sig, up to some seconds.
func SignalWaits(sig Signal) bool { return signalWaits(sig) }

// ParseSignal parses a signal: a name, with or without SIG, in any case, or a
// number. The error is [ErrInvalid] if this system has no such signal. Linux has
// the numbers 1 to 64.
func ParseSignal(s string) (Signal, error) { return parseSignal(s) }
