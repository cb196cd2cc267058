package guest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxLinks is how many links in a row are followed.
const maxLinks = 40

// followed returns the path below root of the file at the end of the links at path.
func followed(root, path string) string {
	for range maxLinks {
		link, err := os.Readlink(root + path)
		if err != nil {
			break
		}
		path = linkedPath(path, link)
	}
	return root + path
}

// linkedPath returns the path that a link at path names.
func linkedPath(path, link string) string {
	if filepath.IsAbs(link) {
		return filepath.Clean(link)
	}
	return filepath.Join(filepath.Dir(path), link)
}

// renewFile gives a file a text, if it has another one. A file that is there keeps its mode and owner.
func renewFile(path, text string) (changed bool, err error) {
	mode := fs.FileMode(0o644)
	before, err := os.ReadFile(path)
	switch info, statErr := os.Stat(path); {
	case err == nil && string(before) == text:
		return false, nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return false, err
	case statErr == nil:
		mode = info.Mode().Perm()
	}
	err = replaceFile(path, text, mode)
	return err == nil, err
}

// replaceFile gives path a new text: readers see the old one or the new one. A
// file that is a mount point, or in a read-only directory, is overwritten in place,
// and keeps its mode. The owner stays.
func replaceFile(path, text string, mode os.FileMode) error {
	err := renameOnto(path, text, mode)
	if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EROFS) {
		return err
	}
	if in := overwrite(path, text); !errors.Is(in, os.ErrNotExist) {
		return in
	}
	return err
}

func renameOnto(path, text string, mode os.FileMode) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: "write", Path: path, Err: failed.Err} // the temporary name helps nobody
	}
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name()) // nothing to remove after the rename
	_, writeErr := temporary.WriteString(text)
	if err := errors.Join(writeErr, keepOwner(temporary, path), temporary.Chmod(mode), temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// keepOwner gives f the owner and the group of the file at path, if there is one.
func keepOwner(f *os.File, path string) error {
	var has, is unix.Stat_t
	if err := unix.Stat(path, &has); err != nil {
		return ignoreMissing(err)
	}
	if err := unix.Fstat(int(f.Fd()), &is); err != nil || has.Uid == is.Uid && has.Gid == is.Gid {
		return err
	}
	return f.Chown(int(has.Uid), int(has.Gid))
}

// overwrite never leaves the file empty: it cuts it last.
func overwrite(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, writeErr := f.WriteAt([]byte(text), 0)
	if writeErr == nil {
		writeErr = f.Truncate(int64(len(text)))
	}
	return errors.Join(writeErr, f.Sync(), f.Close())
}
