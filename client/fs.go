package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/files"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// An FS is the file system of a guest, with the rights of one user. [Client.FS] makes one. It is an
// io/fs.FS whose root is that of the guest: its names, such as "etc/hosts", begin with no
// slash. All other methods take paths of the guest, such as "/etc/hosts"; a relative one begins
// at the user's home. Errors of methods that copy nothing are a *fs.PathError.
//
// Each call runs one process in the guest. The agent must have the feature "files". Otherwise
// nothing is sent, and the error is a [*RemoteError] of kind [Unsupported]. An FS is safe for
// concurrent use.
type FS struct {
	client *Client
	user   string
	ctx    context.Context // of WithContext, for the methods that io/fs defines
}

// FS returns the file system of the guest as user sees it: "name", "uid", "name:group" or
// "uid:gid", as in [Cmd.User]. Empty: the agent's user, which is root as a rule.
func (c *Client) FS(user string) *FS {
	return &FS{client: c, user: user, ctx: context.Background()}
}

// WithContext returns an FS whose methods without a context of their own use ctx.
func (f *FS) WithContext(ctx context.Context) *FS {
	g := *f
	g.ctx = ctx
	return &g
}

var (
	_ fs.StatFS     = (*FS)(nil)
	_ fs.ReadDirFS  = (*FS)(nil)
	_ fs.ReadFileFS = (*FS)(nil)
)

// guestPath returns the path of the name of an io/fs.
func guestPath(op, name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	if name == "." {
		return "/", nil
	}
	return "/" + name, nil
}

// Stat returns what the name, or the link that it names, leads to.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	path, err := guestPath("stat", name)
	if err != nil {
		return nil, err
	}
	i, err := f.look(f.ctx, path, true)
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	i.name = name[strings.LastIndexByte(name, '/')+1:]
	return i, nil
}

// Lstat describes what is at a path of the guest. It follows no symbolic link at its end.
func (f *FS) Lstat(ctx context.Context, path string) (fs.FileInfo, error) {
	i, err := f.look(ctx, path, false)
	if err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return i, nil
}

func (f *FS) look(ctx context.Context, path string, follow bool) (found *fileInfo, err error) {
	err = f.change(ctx, files.Request{Op: files.Stat, Path: path}, files.Options{Follow: follow}, 0, func(e *files.Frame) error {
		found = infoOf(e)
		return nil
	})
	if err == nil && found == nil {
		err = fmt.Errorf("%w: answer without an entry", ErrProtocol)
	}
	return found, err
}

// maxEntries bounds what a guest can have ReadDir keep.
const maxEntries = 1 << 20

// ReadDir returns the entries of a directory, sorted by name. There may be a million of them. [FS.List]
// has no bound.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	path, err := guestPath("readdir", name)
	if err != nil {
		return nil, err
	}
	var all []fs.DirEntry
	err = f.list(f.ctx, path, func(i fs.FileInfo) error {
		if len(all) == maxEntries {
			return fmt.Errorf("more than %d entries", maxEntries)
		}
		all = append(all, fs.FileInfoToDirEntry(i))
		return nil
	})
	slices.SortFunc(all, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	if err != nil {
		err = &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return all, err
}

// List calls each for each entry of a directory, in no order. It keeps none of them. An error of each
// ends it.
func (f *FS) List(ctx context.Context, path string, each func(fs.FileInfo) error) error {
	var own error
	err := f.list(ctx, path, func(i fs.FileInfo) error {
		own = each(i)
		return own
	})
	if own != nil {
		return err
	}
	return about("readdir", path, err)
}

func (f *FS) list(ctx context.Context, path string, each func(fs.FileInfo) error) error {
	return f.change(ctx, files.Request{Op: files.List, Path: path}, files.Options{}, 0, func(e *files.Frame) error {
		return each(infoOf(e))
	})
}

// Mkdir makes a directory with the permissions of mode, whatever the umask of the agent.
func (f *FS) Mkdir(ctx context.Context, path string, mode fs.FileMode) error {
	err := f.change(ctx, files.Request{Op: files.Mkdir, Path: path}, files.Options{}, modeOf(mode), nil)
	return about("mkdir", path, err)
}

// MkdirAll is like Mkdir, and makes missing parents with the mode 0755. It succeeds if the
// directory exists.
func (f *FS) MkdirAll(ctx context.Context, path string, mode fs.FileMode) error {
	err := f.change(ctx, files.Request{Op: files.Mkdir, Path: path}, files.Options{Parents: true}, modeOf(mode), nil)
	return about("mkdir", path, err)
}

// Remove removes a file or an empty directory.
func (f *FS) Remove(ctx context.Context, path string) error {
	err := f.change(ctx, files.Request{Op: files.Remove, Path: path}, files.Options{}, 0, nil)
	return about("remove", path, err)
}

// RemoveAll removes a file, or a directory with its content. It follows no link.
func (f *FS) RemoveAll(ctx context.Context, path string) error {
	err := f.change(ctx, files.Request{Op: files.Remove, Path: path}, files.Options{Recursive: true}, 0, nil)
	return about("remove", path, err)
}

// Rename gives a file or a directory another path of the same file system. It replaces a file.
func (f *FS) Rename(ctx context.Context, path, newPath string) error {
	err := f.change(ctx, files.Request{Op: files.Rename, Path: path, To: newPath}, files.Options{}, 0, nil)
	return about("rename", path, err)
}

// about returns err as a PathError, or nil.
func about(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// change carries out what copies nothing.
func (f *FS) change(ctx context.Context, r files.Request, o files.Options, mode uint64, each func(*files.Frame) error) error {
	call, err := f.start(ctx, r, wire.FeatureFiles)
	if err != nil {
		return err
	}
	if each == nil {
		each = func(*files.Frame) error { return errors.New("an entry that nobody asked for") }
	}
	err = files.Entries(call.conn(), o, mode, each)
	return call.finish(err)
}

// A fileInfo describes a file of the guest.
type fileInfo struct {
	name string
	size int64
	mode fs.FileMode
	time time.Time
}

func infoOf(f *files.Frame) *fileInfo {
	i := &fileInfo{name: f.Name, size: int64(f.Size), mode: fs.FileMode(f.Mode & 0o777), time: time.Unix(f.Sec, int64(f.Nsec))}
	for _, bit := range []struct {
		of uint64
		is fs.FileMode
	}{{0o4000, fs.ModeSetuid}, {0o2000, fs.ModeSetgid}, {0o1000, fs.ModeSticky}} {
		if f.Mode&bit.of != 0 {
			i.mode |= bit.is
		}
	}
	kind := f.Type
	if f.Kind != files.KindEntry {
		kind = f.Kind
	}
	i.mode |= kind.FileMode()
	return i
}

// modeOf is the other way round.
func modeOf(m fs.FileMode) uint64 {
	mode := uint64(m.Perm())
	if m&fs.ModeSticky != 0 {
		mode |= 0o1000
	}
	return mode
}

func (i *fileInfo) Name() string       { return i.name }
func (i *fileInfo) Size() int64        { return i.size }
func (i *fileInfo) Mode() fs.FileMode  { return i.mode }
func (i *fileInfo) ModTime() time.Time { return i.time }
func (i *fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i *fileInfo) Sys() any           { return nil }
