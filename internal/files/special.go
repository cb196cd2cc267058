package files

import (
	"errors"
	"io/fs"
)

// Types of a KindSpecial, and of an entry of a list, which may be a socket, too.
const (
	typeFifo      Kind = 'p'
	typeCharacter Kind = 'c'
	typeBlock     Kind = 'b'
	typeSocket    Kind = 's'
)

// FileMode returns the type of an entry, as io/fs has it.
func (k Kind) FileMode() fs.FileMode {
	mode, ok := map[Kind]fs.FileMode{
		KindFile: 0, KindDir: fs.ModeDir, KindSymlink: fs.ModeSymlink, typeFifo: fs.ModeNamedPipe, typeSocket: fs.ModeSocket,
		typeCharacter: fs.ModeDevice | fs.ModeCharDevice, typeBlock: fs.ModeDevice,
	}[k]
	if !ok {
		return fs.ModeIrregular
	}
	return mode
}

// special sends a fifo or a device, which is not opened. Sockets belong to their programs, and are not sent.
func (s *Sender) special(i *info, name, path string) error {
	if !s.Options.Special || i.special == 0 || i.special == typeSocket {
		s.Report(&EntryError{Path: path, Text: i.reason(false), Code: CodeUnsupported, Skipped: true})
		return nil
	}
	f := i.frame(KindSpecial, name)
	f.Type, f.Major, f.Minor = i.special, i.major, i.minor
	s.setOwner(f, i)
	s.counts.Files++
	return s.w.send(f)
}

var errDeviceOnHost = errors.New("a device, which is not made on the host")

// special makes a fifo, and in the guest a device.
func (rc *Receiver) special(s *spot, f *Frame) error {
	if f.Type != typeFifo && !rc.devices {
		return &EntryError{Path: rc.path(s.final), Text: errDeviceOnHost.Error(), Code: CodeUnsupported, Skipped: true}
	}
	if err := s.dir.mknod(s.name, f.Type, f.Major, f.Minor); err != nil {
		return err
	}
	n, err := s.dir.openNode(s.name, f)
	if err == nil {
		err = rc.finishEntry(n, f, s.final)
		n.close()
	}
	if err != nil {
		_ = s.dir.unlink(s.name)
	}
	return err
}

// checkSpecial returns an error if f is neither a fifo nor a device.
func (f *Frame) checkSpecial() error {
	switch {
	case f.Kind != KindSpecial:
		return nil
	case f.Type != typeFifo && f.Type != typeCharacter && f.Type != typeBlock:
		return broken("special file of type %q", f.Type)
	case f.Major > maxMajor || f.Minor > maxMinor:
		return broken("device %d:%d", f.Major, f.Minor)
	}
	return nil
}

// The largest numbers of devices of Linux.
const (
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
)
