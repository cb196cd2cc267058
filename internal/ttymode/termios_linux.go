package ttymode

import "golang.org/x/sys/unix"

type word = uint32

const (
	getTermios = unix.TCGETS
	setTermios = unix.TCSETS

	disabled = 0 // a key that is turned off
)
