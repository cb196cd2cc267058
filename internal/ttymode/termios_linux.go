package ttymode

import "golang.org/x/sys/unix"

type word = uint32

const (
	getTermios = unix.TCGETS
	setTermios = unix.TCSETS

	disabled = 0 // a key that is turned off
)

// systemFlags are those that not every system has.
var systemFlags = []flag{
	{37, input, unix.IUCLC},
	{52, local, unix.XCASE},
	{71, output, unix.OLCUC},
}
