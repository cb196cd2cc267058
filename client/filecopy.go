package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/files"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// CopyOptions say how [FS.Push] and [FS.Pull] copy. The zero value copies permissions and
// modification times; what is copied belongs to the user who writes it, and symbolic links are copied as links.
type CopyOptions struct {
	Several         bool // this is one of several sources: the destination has to be a directory
	Parents         bool // make the missing parents of the destination
	PreserveMode    bool // keep set-user-id, set-group-id and sticky bits
	Owner           bool // keep owner and group by name if the other side has the name, else by number
	Numeric         bool // keep owner and group by number
	Follow          bool // copy what symbolic links lead to
	AllowChanged    bool // copy a file that changes while it is read: as many bytes as it had at the beginning
	Sync            bool // write to disk before the end
	SkipUnsupported bool // do not fail for what is not copied for its kind: sockets, fifos and devices, as a rule

	XAttrs   bool // keep extended attributes of users (user.*) and ACLs, by number
	Security bool // keep extended attributes of the kernel (security.*), such as file capabilities: needs root
	Special  bool // copy fifos, and devices into the guest

	// SHA256 is called with the SHA-256 of each regular file once it has been sent, or received. Both
	// sides compute and compare it. Further names of a file have none. nil: only the faster hash is used.
	SHA256 func(path string, sum [32]byte)

	// Failed is called for each entry that is not copied. nil: it is not. Others are copied.
	Failed func(*CopyError)

	// Progress is called now and then. nil: it is not.
	Progress func(CopyCounts)
}

func (o *CopyOptions) wire() files.Options {
	return files.Options{
		Several: o.Several, Parents: o.Parents, PreserveMode: o.PreserveMode, Owner: o.Owner, Numeric: o.Numeric,
		Follow: o.Follow, AllowChanged: o.AllowChanged, Sync: o.Sync,
		XAttrs: o.XAttrs, Security: o.Security, Special: o.Special, SHA256: o.SHA256 != nil,
	}
}

// features returns those that the agent must have.
func (o *CopyOptions) features() []string {
	if o.XAttrs || o.Security || o.Special || o.SHA256 != nil {
		return []string{wire.FeatureFiles, wire.FeatureFilesOptions}
	}
	return []string{wire.FeatureFiles}
}

// CopyCounts are what has been copied.
type CopyCounts struct {
	Files   uint64 // and links
	Bytes   uint64 // of files, without holes
	Failed  uint64 // entries that were not copied
	Skipped uint64 // sockets, fifos and devices

	// Expected is what Bytes will be at the end, in calls of [CopyOptions.Progress] for one file. 0: it is not known.
	Expected uint64
}

// A CopyError is what has kept one entry from being copied, or the guest's refusal of a request
// about files. errors.Is finds fs.ErrNotExist, fs.ErrExist, fs.ErrPermission and
// errors.ErrUnsupported in it.
type CopyError struct {
	Path    string // below the source or the destination: bytes, which need not be printable. Empty: all of it
	Reason  string // for people: printable
	Skipped bool   // a socket, a fifo or a device
	Guest   bool   // it is an error of the guest, about a path there

	is error
}

func (e *CopyError) Error() string {
	text := e.Reason
	if e.Path != "" {
		text = quotedPath(e.Path) + ": " + text
	}
	if e.Guest {
		text = "guest: " + text
	}
	return text
}

// quotedPath returns a path for people: quoted if it is not printable.
func quotedPath(p string) string {
	text := printable(p, maxMessage)
	if text != p {
		text = printable(strconv.Quote(p), maxMessage)
	}
	return text
}

// Unwrap returns an error of io/fs, or nil.
func (e *CopyError) Unwrap() error { return e.is }

// remoteEntryError makes an error of package files one of this package.
func remoteEntryError(err error) error {
	e, ok := errors.AsType[*files.EntryError](err)
	if !ok {
		return err
	}
	return copyError(e)
}

func copyError(e *files.EntryError) *CopyError {
	c := &CopyError{Path: e.Path, Reason: printable(e.Text, maxMessage), Skipped: e.Skipped, Guest: e.Remote}
	for _, target := range []error{fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, errors.ErrUnsupported} {
		if e.Is(target) {
			c.is = target
		}
	}
	return c
}

// An IncompleteError says that some entries were not copied, and the others were.
type IncompleteError struct {
	Failed  uint64
	Skipped uint64 // sockets, fifos and devices
	First   *CopyError
}

func (e *IncompleteError) Error() string {
	n := e.Failed + e.Skipped
	if n == 1 {
		return "not copied: " + e.First.Error()
	}
	return fmt.Sprintf("%d entries were not copied, the first: %v", n, e.First)
}

func (e *IncompleteError) Unwrap() error { return e.First }

// A copyCall counts what happens in one copy.
type copyCall struct {
	options *CopyOptions
	counts  CopyCounts
	first   *CopyError
}

func (c *copyCall) events() files.Events {
	return files.Events{Failed: c.failed, Progress: c.progress, Summed: c.options.SHA256}
}

func (c *copyCall) failed(e *files.EntryError) {
	if e.Skipped {
		c.counts.Skipped++
	} else {
		c.counts.Failed++
	}
	err := copyError(e)
	if c.first == nil && (!e.Skipped || !c.options.SkipUnsupported) {
		c.first = err
	}
	if c.options.Failed != nil {
		c.options.Failed(err)
	}
}

func (c *copyCall) progress(n files.Counts) {
	if c.options.Progress != nil {
		now := c.counts
		now.Files, now.Bytes, now.Expected = n.Files, n.Bytes, n.Expected
		c.options.Progress(now)
	}
}

// result returns what Push and Pull do.
func (c *copyCall) result(n files.Counts, err error) (CopyCounts, error) {
	c.counts.Files, c.counts.Bytes = n.Files, n.Bytes
	if err == nil && c.first != nil {
		err = &IncompleteError{Failed: c.counts.Failed, Skipped: c.counts.Skipped, First: c.first}
	}
	return c.counts, err
}

// Push copies the file or directory at the path local of this machine to the path remote of the guest,
// as cp -r does: into remote if that is a directory, under that name otherwise. The content of
// "dir/." goes into a directory that exists. A file is written under a temporary name and
// renamed, so that nobody sees a part of it.
//
// An entry that cannot be copied does not keep others from being copied: the error is an
// [*IncompleteError] then. If ctx or the connection ends first, what has been copied stays. A
// large file that is not complete keeps its temporary name, and the next Push of the same
// file goes on with it. nil options are the zero value.
func (f *FS) Push(ctx context.Context, local, remote string, o *CopyOptions) (CopyCounts, error) {
	return f.push(ctx, files.FromPath(local), remote, o, files.Options{})
}

func (f *FS) push(ctx context.Context, from files.Source, remote string, o *CopyOptions, more files.Options) (CopyCounts, error) {
	if o == nil {
		o = new(CopyOptions)
	}
	call, err := f.start(ctx, files.Request{Op: files.Push, Path: remote}, o.features()...)
	if err != nil {
		return CopyCounts{}, err
	}
	options := o.wire()
	options.Replace = more.Replace
	options.Several = options.Several || more.Several
	c := &copyCall{options: o}
	n, kept, err := files.PushTo(call.conn(), from, options, c.events())
	return c.result(n, keptError(kept, call.finish(err)))
}

// Pull copies the file or directory at the path remote of the guest to the path local of this
// machine. All else is as for [FS.Push].
func (f *FS) Pull(ctx context.Context, remote, local string, o *CopyOptions) (CopyCounts, error) {
	return f.pull(ctx, remote, o, func(call *fileCall, c *copyCall) (files.Counts, string, error) {
		return files.PullTo(call.conn(), remote, local, c.options.wire(), c.events())
	})
}

func (f *FS) pull(
	ctx context.Context, remote string, o *CopyOptions, receive func(*fileCall, *copyCall) (files.Counts, string, error),
) (CopyCounts, error) {
	if o == nil {
		o = new(CopyOptions)
	}
	call, err := f.start(ctx, files.Request{Op: files.Pull, Path: remote}, o.features()...)
	if err != nil {
		return CopyCounts{}, err
	}
	c := &copyCall{options: o}
	n, kept, err := receive(call, c)
	return c.result(n, keptError(kept, call.finish(err)))
}

// keptError has err name the part of a file that is kept.
func keptError(kept string, err error) error {
	if kept == "" || err == nil {
		return err
	}
	return &KeptError{Path: kept, Err: err}
}

// PushTar copies what a tar stream has into the directory remote of the guest. It returns soon after ctx or the
// connection has ended, even if a Read of from blocks; that Read goes on.
func (f *FS) PushTar(ctx context.Context, from io.Reader, remote string, o *CopyOptions) (CopyCounts, error) {
	return f.push(ctx, files.FromTar(from), remote, o, files.Options{Several: true})
}

// PullTar writes a file or directory of the guest to a tar stream in the PAX format.
func (f *FS) PullTar(ctx context.Context, remote string, to io.Writer, o *CopyOptions) (CopyCounts, error) {
	return f.pull(ctx, remote, o, func(call *fileCall, c *copyCall) (files.Counts, string, error) {
		n, err := files.PullTar(call.conn(), remote, to, c.options.wire(), c.events())
		return n, "", err
	})
}

// A KeptError says that a copy ended early, and that a part of a file is kept for the next attempt.
type KeptError struct {
	Path string // of the part, below the destination
	Err  error
}

func (e *KeptError) Error() string {
	return fmt.Sprintf("%v (kept %s: the same copy goes on with it)", e.Err, quotedPath(e.Path))
}

func (e *KeptError) Unwrap() error { return e.Err }

// WriteFile writes data to the file at a path of the guest, with the permissions of mode,
// whatever the umask of the agent. Others see the old file or the new one, and no part of it.
func (f *FS) WriteFile(ctx context.Context, name string, data []byte, mode fs.FileMode) error {
	from := files.FromReader(path.Base(name), bytes.NewReader(data), int64(len(data)), modeOf(mode)&0o777, time.Now())
	_, err := f.push(ctx, from, name, nil, files.Options{Replace: true})
	if e, ok := errors.AsType[*IncompleteError](err); ok {
		err = e.First
	}
	return err
}
