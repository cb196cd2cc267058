package guest

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// replaceFile gives path a new text: readers see the old one or the new one. A
// file that is a mount point, or in a read-only directory, is overwritten in place,
// and keeps its mode.
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
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name()) // nothing to remove after the rename
	_, writeErr := temporary.WriteString(text)
	if err := errors.Join(writeErr, temporary.Chmod(mode), temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
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
