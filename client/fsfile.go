package client

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"

	"github.com/cocoonstack/cocoon-agent/internal/files"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Open opens a file for reading, or a directory for listing. The caller closes it. A file is
// read by a process in the guest that runs until then.
func (f *FS) Open(name string) (fs.File, error) {
	i, err := f.Stat(name)
	if err != nil {
		return nil, reopened("open", err)
	}
	if i.IsDir() {
		return &openDir{fs: f, name: name, info: i}, nil
	}
	file, err := f.OpenFile(f.ctx, "/"+name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return file, nil
}

// reopened is a PathError of another operation.
func reopened(op string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: op, Path: e.Path, Err: e.Err}
	}
	return err
}

// OpenFile opens the regular file at a path of the guest for reading. The caller closes it. The end of
// ctx ends a Read. After the last byte Read compares the hash of all of them, and fails if the
// file has changed its length meanwhile.
func (f *FS) OpenFile(ctx context.Context, path string) (fs.File, error) {
	call, err := f.start(ctx, files.Request{Op: files.Pull, Path: path}, wire.FeatureFiles)
	if err != nil {
		return nil, err
	}
	content, err := files.OpenFrom(call.conn())
	if err != nil {
		return nil, call.finish(err)
	}
	info := infoOf(content.Frame)
	info.name = path[strings.LastIndexByte(path, '/')+1:]
	return &openFile{call: call, content: content, info: info}, nil
}

// ReadFile returns the content of a file of at most [DefaultMaxOutput] bytes. [FS.OpenFile] is for
// larger ones, whose error is an [*OutputLimitError].
func (f *FS) ReadFile(name string) ([]byte, error) {
	path, err := guestPath("open", name)
	if err != nil {
		return nil, err
	}
	file, err := f.OpenFile(f.ctx, path)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, DefaultMaxOutput+1))
	if len(data) > DefaultMaxOutput {
		data, err = nil, &OutputLimitError{Limit: DefaultMaxOutput}
	}
	if err != nil {
		err = &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return data, err
}

// An openFile is a file that is read.
type openFile struct {
	call    *fileCall
	content *files.Content
	info    *fileInfo
	closed  bool
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }

func (f *openFile) Read(p []byte) (int, error) {
	if f.closed {
		return 0, fs.ErrClosed
	}
	n, err := f.content.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // an ErrLost may wrap it
		err = remoteEntryError(err)
	}
	return n, err
}

func (f *openFile) Close() error {
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	_ = f.call.finish(nil)
	return nil
}

// An openDir is a directory that is listed.
type openDir struct {
	fs   *FS
	name string
	info fs.FileInfo

	listed  bool
	entries []fs.DirEntry // that ReadDir has not returned
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errors.New("is a directory")}
}

// ReadDir is that of an io/fs.ReadDirFile.
func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if !d.listed {
		entries, err := d.fs.ReadDir(d.name)
		if err != nil {
			return nil, err
		}
		d.listed, d.entries = true, entries
	}
	if n > 0 && len(d.entries) == 0 {
		return nil, io.EOF
	}
	if n <= 0 {
		n = len(d.entries)
	}
	n = min(n, len(d.entries))
	next := d.entries[:n:n]
	d.entries = d.entries[n:]
	return next, nil
}
