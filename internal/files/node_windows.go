package files

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A dir is an open directory. All its methods take names of one component.
type dir struct {
	root *os.Root
	list *os.File // nil: it was not listed
}

func newDir(root *os.Root, err error) (*dir, error) {
	if err != nil {
		return nil, err
	}
	return &dir{root: root}, nil
}

func (d *dir) close() {
	if d.list != nil {
		_ = d.list.Close()
	}
	_ = d.root.Close()
}

const namesAtOnce = 512

// names returns some of the names in the directory, each of them once, and io.EOF after the last.
func (d *dir) names() (names []string, err error) {
	if d.list == nil {
		if d.list, err = d.root.Open("."); err != nil {
			return nil, err
		}
	}
	return d.list.Readdirnames(namesAtOnce)
}

func (d *dir) openDir(name string, follow bool) (*dir, error) {
	if i, err := d.lstat(name, false); err == nil && i.typ != KindDir && !follow {
		return nil, errNotDir
	}
	return newDir(d.root.OpenRoot(name))
}

func (d *dir) open(name string, _ bool) (*file, *info, error) {
	return regular(d.root.Open(name))
}

func (d *dir) reopen(name string) (*file, *info, error) {
	return regular(d.root.OpenFile(name, os.O_RDWR, 0))
}

func regular(f *os.File, err error) (*file, *info, error) {
	if err != nil {
		return nil, nil, err
	}
	opened := &file{File: f}
	i, err := opened.stat()
	if err == nil && i.typ != KindFile {
		err = errNotRegular
	}
	if err != nil {
		opened.close()
		return nil, nil, err
	}
	return opened, i, nil
}

func (d *dir) create(name string, mode uint64) (*file, error) {
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, fs.FileMode(mode&0o777))
	if err != nil {
		return nil, err
	}
	return &file{File: f, root: d.root, name: name}, nil
}

func (d *dir) stat() (*info, error) { return infoOf(d.root.Stat(".")) }

func (d *dir) lstat(name string, follow bool) (*info, error) {
	if follow {
		return infoOf(d.root.Stat(name))
	}
	return infoOf(d.root.Lstat(name))
}

func infoOf(fi fs.FileInfo, err error) (*info, error) {
	if err != nil {
		return nil, err
	}
	t := fi.ModTime()
	i := &info{mode: uint64(fi.Mode().Perm()), size: fi.Size(), sec: t.Unix(), nsec: uint64(t.Nanosecond()), nlink: 1}
	switch {
	case fi.IsDir():
		i.typ = KindDir
	case fi.Mode().IsRegular():
		i.typ = KindFile
	case fi.Mode()&fs.ModeSymlink != 0:
		i.typ = KindSymlink
	default:
		i.otherType = "a device"
	}
	return i, nil
}

func (d *dir) readlink(name string) (string, error)  { return d.root.Readlink(name) }
func (d *dir) mkdir(name string) error               { return d.root.Mkdir(name, 0o700) }
func (d *dir) symlink(target, name string) error     { return d.root.Symlink(target, name) }
func (d *dir) unlink(name string) error              { return d.root.Remove(name) }
func (d *dir) rmdir(name string) error               { return d.root.Remove(name) }
func (d *dir) setMode(mode uint64) error             { return d.root.Chmod(".", fs.FileMode(mode&0o777)) }
func (d *dir) setOwner(int, int) error               { return errNoOwners }
func (d *dir) setLinkOwner(string, int, int) error   { return errNoOwners }
func (*dir) setLinkTime(string, int64, uint64) error { return nil }
func (*dir) sync() error                             { return errors.ErrUnsupported }

func (d *dir) setTime(sec int64, ns uint64) error {
	t := time.Unix(sec, int64(ns))
	return d.root.Chtimes(".", t, t)
}

var (
	errNoOwners = errors.New("files have no Unix owners here")
	errOtherDir = errors.New("hard links between directories are not made here")
)

func (d *dir) rename(name string, to *dir, newName string) error {
	if d != to {
		return errOtherDir
	}
	return d.root.Rename(name, newName)
}

func (d *dir) link(name string, to *dir, newName string, _, _ uint64) error {
	if d != to {
		return errOtherDir
	}
	return d.root.Link(name, newName)
}

// A file is an open regular file.
type file struct {
	*os.File
	root *os.Root // of one that create has made
	name string
}

func (f *file) close() { _ = f.Close() }

func (f *file) stat() (*info, error) { return infoOf(f.Stat()) }

func (f *file) write(p []byte) error {
	_, err := f.Write(p)
	return err
}

func (f *file) seek(offset int64) error {
	_, err := f.Seek(offset, io.SeekStart)
	return err
}

func (f *file) truncate(size int64) error { return f.Truncate(size) }
func (f *file) setMode(mode uint64) error { return f.Chmod(fs.FileMode(mode & 0o777)) }
func (f *file) setOwner(int, int) error   { return errNoOwners }

func (f *file) setTime(sec int64, ns uint64) error {
	if f.root == nil {
		return nil
	}
	t := time.Unix(sec, int64(ns))
	return f.root.Chtimes(f.name, t, t)
}

func (f *file) extent(offset, size int64) (from, to int64, err error) {
	return offset, size, f.seek(offset)
}

func (f *file) lock() bool { return true }

func (i *info) own() bool { return i.nlink == 1 }

// checkLocalName refuses names that mean something else than an entry of a directory here.
func checkLocalName(name string) error {
	if strings.ContainsAny(name, `\:`) || !filepath.IsLocal(name) {
		return broken("name %q is not one that Windows can have", name)
	}
	return nil
}

func openPlace(root string) (*place, error) {
	if root != "" {
		return nil, errors.ErrUnsupported
	}
	return &place{}, nil
}

func (*place) openDir(path string) (*dir, error) { return newDir(os.OpenRoot(path)) }

func (*place) open(path string) (*file, *info, error) { return regular(os.Open(path)) }

func (*place) stat(path string) (*info, error) { return infoOf(os.Stat(path)) }

func exactModes() {}
