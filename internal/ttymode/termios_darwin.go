package ttymode

import "golang.org/x/sys/unix"

type word = uint64

const (
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETA

	disabled = 0xff // a key that is turned off
)

// systemFlags are those that not every system has.
var systemFlags []flag
