package files

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

// A Kind is the first byte of a frame (docs/protocol.md, section 13).
type Kind byte

// The kinds of frames.
const (
	KindOptions Kind = 'O' // the host's first frame
	KindDir     Kind = 'D' // a directory: what follows is in it, up to KindUp
	KindUp      Kind = 'U' // the end of a directory
	KindFile    Kind = 'F' // a regular file: KindData, KindHole and KindEnd follow
	KindSymlink Kind = 'L'
	KindLink    Kind = 'K' // one more name of a file that was sent
	KindSpecial Kind = 'N' // a fifo or a device
	KindData    Kind = 'B' // bytes of a file
	KindHole    Kind = 'H' // zeros of a file that take no room
	KindEnd     Kind = 'E' // the end of a file
	KindHave    Kind = 'A' // the receiver's answer to a file with Ask
	KindFrom    Kind = 'R' // the sender's answer to that: the offset at which the data begins
	KindError   Kind = 'X' // one entry has failed, or was skipped
	KindEntry   Kind = 'I' // an entry of a directory, for stat and list
	KindDone    Kind = 'Z' // the last frame
)

// Bounds of what a peer may send.
const (
	MaxName  = 255       // bytes of the name of one entry
	MaxDepth = 4096      // directories within one another
	MaxData  = 256 << 10 // bytes of a KindData
	maxBody  = 1 << 20   // bytes of any other frame

	headSize = 5 // the kind, and 4 bytes of length
)

// ErrProtocol is wrapped by the errors about frames that break the rules.
var ErrProtocol = errors.New("invalid file frames")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// A Frame is one frame other than KindData. Each kind uses some of the fields; one that is
// zero is not sent.
type Frame struct {
	Kind Kind

	Name   string // one component
	Type   Kind   // of a KindEntry: KindDir, KindFile, KindSymlink, or 0 for others; of a KindSpecial: p, c or b
	Mode   uint64 // permissions, and the bits for set-user-id (0o4000), set-group-id and sticky
	Size   uint64
	Sec    int64 // of the modification time
	Nsec   uint64
	UID    uint64
	GID    uint64
	User   string // with owners: the name of UID, if it has one
	Group  string
	Target string // of a symbolic link
	Attrs  string // extended attributes, if they were asked for
	Major  uint64 // of a device
	Minor  uint64
	Inode  uint64 // of a file with several names: its number in this transfer, from 1

	Content bool // of the first directory: its content goes into the destination
	Keep    bool // of a directory: if it exists, its mode and time stay
	Ask     bool // of a file: the sender waits for KindHave
	Skipped bool // of a KindError: the entry is of a kind that is not copied

	Hash    uint64
	SHA256  string // of a KindEnd, if it was asked for: 32 bytes
	Changed bool   // of a KindEnd: the content is not whole, and is not to be kept
	Hashes  string // of a KindHave: 8 bytes for each block that the receiver has
	Offset  uint64

	Path string // of a KindError: below the operand
	Text string // of a KindError: what is wrong. Of a KindDone: why nothing more comes
	Code Code   // of Text

	Files uint64 // of a KindDone
	Bytes uint64

	Options Options // of a KindOptions
}

// A Code classes an error, so that the other side can make it an io/fs error.
type Code uint64

// The codes.
const (
	CodeOther Code = iota
	CodeNotExist
	CodeExist
	CodePermission
	CodeUnsupported
)

// fields goes through the fields of f in their order on the wire, as c says.
func (f *Frame) fields(c *codec) {
	text(c, 'n', &f.Name)
	number(c, 'k', &f.Type)
	number(c, 'm', &f.Mode)
	number(c, 's', &f.Size)
	signed(c, 't', &f.Sec)
	number(c, 'T', &f.Nsec)
	number(c, 'u', &f.UID)
	number(c, 'g', &f.GID)
	text(c, 'U', &f.User)
	text(c, 'G', &f.Group)
	text(c, 'l', &f.Target)
	text(c, 'X', &f.Attrs)
	number(c, 'M', &f.Major)
	number(c, 'N', &f.Minor)
	number(c, 'i', &f.Inode)
	flag(c, 'x', &f.Content)
	flag(c, 'w', &f.Keep)
	flag(c, 'q', &f.Ask)
	flag(c, 'S', &f.Skipped)
	number(c, 'h', &f.Hash)
	text(c, 'H', &f.SHA256)
	flag(c, 'c', &f.Changed)
	text(c, 'b', &f.Hashes)
	number(c, 'o', &f.Offset)
	text(c, 'p', &f.Path)
	text(c, 'e', &f.Text)
	number(c, 'C', &f.Code)
	number(c, 'f', &f.Files)
	number(c, 'B', &f.Bytes)
	f.Options.fields(c)
}

// namedKinds are the kinds that have a name.
const namedKinds = string(KindDir) + string(KindFile) + string(KindSymlink) + string(KindLink) + string(KindSpecial) + string(KindEntry)

// check returns an error if f breaks a rule that needs no knowledge of other frames.
func (f *Frame) check() error {
	if strings.ContainsRune(namedKinds, rune(f.Kind)) {
		if err := checkName(f.Name); err != nil {
			return err
		}
	}
	switch {
	case f.Nsec >= 1e9:
		return broken("%d nanoseconds", f.Nsec)
	case f.Mode > 0o7777:
		return broken("mode %#o", f.Mode)
	case f.UID > math.MaxUint32 || f.GID > math.MaxUint32:
		return broken("owner %d:%d", f.UID, f.GID)
	case f.Size > math.MaxInt64 || f.Offset > math.MaxInt64:
		return broken("size beyond 2^63-1")
	case len(f.Hashes)%8 != 0:
		return broken("%d bytes of hashes", len(f.Hashes))
	}
	if _, err := unpackAttrs(f.Attrs); err != nil {
		return err
	}
	return f.checkSpecial()
}

// checkName returns an error if name is not that of an entry of a directory.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return broken("name %q", name)
	case len(name) > MaxName:
		return broken("name of %d bytes", len(name))
	case strings.ContainsAny(name, "/\x00"):
		return broken("name %q has a slash or a zero byte", name)
	}
	return checkLocalName(name)
}
