// Package files copies files and directories between a host and a guest. Both sides use it: the
// guest's is a process that the agent starts with the rights of the user ([Serve]), the
// host's is in package client.
//
// A copy is a [Sender] and a [Receiver], and frames between them (docs/protocol.md, section
// 13). A path of the caller is resolved once. Everything below it is reached by the
// descriptor of its directory and a name of one component, and no link is followed.
package files

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
)

// An Op is what the guest's side is to do.
type Op string

// The operations.
const (
	Stat   Op = "stat"
	List   Op = "list"
	Push   Op = "push"
	Pull   Op = "pull"
	Mkdir  Op = "mkdir"
	Remove Op = "remove"
	Rename Op = "rename"
)

// Ops returns all operations.
func Ops() []Op { return []Op{Stat, List, Push, Pull, Mkdir, Remove, Rename} }

// Options say how to copy, and how to make or remove a directory.
type Options struct {
	Several      bool // there are other sources: the destination has to be a directory
	Parents      bool // make the missing parents of the destination
	PreserveMode bool // keep set-user-id and set-group-id
	Owner        bool // keep owners, by name if both sides have it
	Numeric      bool // keep owners by number
	Follow       bool // copy what symbolic links lead to
	AllowChanged bool // copy a file that changes while it is read
	Sync         bool // write to disk before the end
	Recursive    bool // remove a directory with its content
	Replace      bool // write over the file that Path names, whatever the source is called
	SHA256       bool // check files by their SHA-256, too
	XAttrs       bool // keep extended attributes of users, and ACLs
	Security     bool // keep extended attributes of the kernel: file capabilities and labels
	Special      bool // copy fifos, and devices into the guest
}

func (o *Options) fields(c *codec) {
	flag(c, '1', &o.Several)
	flag(c, '2', &o.Parents)
	flag(c, '3', &o.PreserveMode)
	flag(c, '4', &o.Owner)
	flag(c, '5', &o.Numeric)
	flag(c, '6', &o.Follow)
	flag(c, '7', &o.AllowChanged)
	flag(c, '8', &o.Sync)
	flag(c, '9', &o.Recursive)
	flag(c, '0', &o.Replace)
	flag(c, 'V', &o.SHA256)
	flag(c, 'a', &o.XAttrs)
	flag(c, 'A', &o.Security)
	flag(c, 'v', &o.Special)
}

// supported returns an error if this system cannot carry the options out.
func (o *Options) supported() error {
	if (o.XAttrs || o.Security || o.Special) && runtime.GOOS != "linux" {
		return fmt.Errorf("%w: only Linux hosts keep extended attributes, ACLs and special files", errors.ErrUnsupported)
	}
	return nil
}

// An EntryError is what has kept one entry from being copied. Others have been.
type EntryError struct {
	Path    string // below the operand; empty: the operand itself
	Text    string
	Code    Code
	Skipped bool // it is of a kind that is not copied, such as a socket
	Remote  bool // it is an error of the other side
}

func (e *EntryError) Error() string {
	if e.Path == "" {
		return e.Text
	}
	return fmt.Sprintf("%s: %s", e.Path, e.Text)
}

// Is makes the error one of io/fs.
func (e *EntryError) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.Code == CodeNotExist
	case fs.ErrExist:
		return e.Code == CodeExist
	case fs.ErrPermission:
		return e.Code == CodePermission
	case errors.ErrUnsupported:
		return e.Code == CodeUnsupported
	}
	return false
}

func codeOf(err error) Code {
	for code, target := range map[Code]error{
		CodeNotExist: fs.ErrNotExist, CodeExist: fs.ErrExist,
		CodePermission: fs.ErrPermission, CodeUnsupported: errors.ErrUnsupported,
	} {
		if errors.Is(err, target) {
			return code
		}
	}
	return CodeOther
}

// entryError is err as an EntryError about path.
func entryError(path string, err error) *EntryError {
	if e, ok := errors.AsType[*EntryError](err); ok {
		return e
	}
	return &EntryError{Path: path, Text: reason(err), Code: codeOf(err)}
}

// reason is the text of err without the path that package os adds.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

func (f *Frame) entryError() *EntryError {
	return &EntryError{Path: f.Path, Text: f.Text, Code: f.Code, Skipped: f.Skipped, Remote: true}
}

func (e *EntryError) frame() *Frame {
	path := e.Path
	if len(path) > maxPath {
		path = "…" + path[len(path)-maxPath:]
	}
	return &Frame{Kind: KindError, Path: path, Text: e.Text, Code: e.Code, Skipped: e.Skipped}
}

// maxPath bounds the path in a KindError, in bytes. Only paths that no system call takes are longer.
const maxPath = 64 << 10

// Counts are what a copy has done.
type Counts struct {
	Files uint64 // regular files, links to them and symbolic links
	Bytes uint64 // of regular files; holes do not count

	// Expected is Bytes as it will be at the end, if one file is copied. 0: it is not known.
	Expected uint64
}

// expect notes how many bytes will have been copied after a file with as many more.
func (c *Counts) expect(more uint64) { c.Expected = c.Bytes + more }

// hole notes that some of the bytes that are expected do not count.
func (c *Counts) hole(size uint64) { c.Expected -= min(size, c.Expected) }
