//go:build linux || darwin

package ttymode

import (
	"slices"

	"golang.org/x/sys/unix"
)

// A flag is one of a termios.
type flag struct {
	opcode uint8
	field  func(*unix.Termios) *word
	mask   word
}

// value returns the modes of t.
func value(t *unix.Termios) Modes {
	m := Modes{}
	for opcode, i := range keys {
		if t.Cc[i] == disabled {
			m[opcode] = keyOff
		} else {
			m[opcode] = uint32(t.Cc[i])
		}
	}
	for _, f := range flags {
		m[f.opcode] = number(*f.field(t)&f.mask != 0)
	}
	return m
}

// apply sets those modes of t that m has. Others stay.
func apply(t *unix.Termios, m Modes) {
	for opcode, i := range keys {
		v, ok := m[opcode]
		switch {
		case !ok || v > keyOff:
		case v == keyOff:
			t.Cc[i] = disabled
		default:
			t.Cc[i] = uint8(v)
		}
	}
	for _, f := range flags {
		v, ok := m[f.opcode]
		field := f.field(t)
		switch {
		case !ok:
		case v != 0:
			*field |= f.mask
		default:
			*field &^= f.mask
		}
	}
}

func number(is bool) uint32 {
	if is {
		return 1
	}
	return 0
}

// keyOff is the value of a key that is turned off.
const keyOff = 255

// keys are the indices of termios's c_cc by opcodes.
var keys = map[uint8]int{
	opcodeIntr: unix.VINTR, 2: unix.VQUIT, opcodeErase: unix.VERASE, 4: unix.VKILL, 5: unix.VEOF, 6: unix.VEOL, 7: unix.VEOL2,
	8: unix.VSTART, 9: unix.VSTOP, 10: unix.VSUSP, 12: unix.VREPRINT, 13: unix.VWERASE, 14: unix.VLNEXT, 18: unix.VDISCARD,
}

func input(t *unix.Termios) *word  { return &t.Iflag }
func output(t *unix.Termios) *word { return &t.Oflag }
func local(t *unix.Termios) *word  { return &t.Lflag }

// flags are those of ssh, without PENDIN, which Linux does not act on, and without the size
// of characters and their parity: a pseudo-terminal's cannot be changed.
var flags = slices.Concat(systemFlags, []flag{
	{30, input, unix.IGNPAR},
	{31, input, unix.PARMRK},
	{32, input, unix.INPCK},
	{33, input, unix.ISTRIP},
	{34, input, unix.INLCR},
	{35, input, unix.IGNCR},
	{36, input, unix.ICRNL},
	{38, input, unix.IXON},
	{39, input, unix.IXANY},
	{40, input, unix.IXOFF},
	{41, input, unix.IMAXBEL},
	{opcodeIUTF8, input, unix.IUTF8},
	{opcodeISig, local, unix.ISIG},
	{51, local, unix.ICANON},
	{53, local, unix.ECHO},
	{54, local, unix.ECHOE},
	{55, local, unix.ECHOK},
	{56, local, unix.ECHONL},
	{57, local, unix.NOFLSH},
	{58, local, unix.TOSTOP},
	{59, local, unix.IEXTEN},
	{60, local, unix.ECHOCTL},
	{61, local, unix.ECHOKE},
	{70, output, unix.OPOST},
	{72, output, unix.ONLCR},
	{73, output, unix.OCRNL},
	{74, output, unix.ONOCR},
	{75, output, unix.ONLRET},
})

func of(fd int) (Modes, error) {
	t, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return nil, err
	}
	return value(t), nil
}

func setModes(fd int, m Modes) error {
	t, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return err
	}
	if _, ok := m[opcodeIUTF8]; !ok {
		t.Iflag |= unix.IUTF8
	}
	apply(t, m)
	return unix.IoctlSetTermios(fd, setTermios, t)
}
