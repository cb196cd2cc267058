package files

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// A place resolves the paths of callers, with their links. Its zero value takes them as the
// process does.
type place struct {
	root *dir // nil: no path leads out of it
}

var (
	errNotRegular = errors.New("not a regular file")
	errEmptyPath  = errors.New("the path is empty")
	errNotDir     = errors.New("not a directory")
)

// split returns the directory and the last component of a path, and whether a slash follows.
// base is empty if the last component names no entry: "/", "." or "..".
func split(path string) (parent, base string, slash bool) {
	trimmed := path
	for len(trimmed) > 1 && isSeparator(trimmed[len(trimmed)-1]) {
		trimmed = trimmed[:len(trimmed)-1]
	}
	slash = trimmed != path
	volume := len(filepath.VolumeName(trimmed))
	i := len(trimmed)
	for i > volume && !isSeparator(trimmed[i-1]) {
		i--
	}
	parent, base = trimmed[:i], trimmed[i:]
	if base == "." || base == ".." || base == "" || isSeparator(trimmed[len(trimmed)-1]) {
		return trimmed, "", slash
	}
	if parent == "" {
		parent = "."
	}
	return parent, base, slash
}

func isSeparator(c byte) bool { return c == '/' || c == filepath.Separator }

// parent opens the directory that path's last component is in.
func (p *place) parent(path string) (*dir, string, error) {
	if path == "" {
		return nil, "", errEmptyPath
	}
	parent, base, _ := split(path)
	if base == "" {
		return nil, "", fmt.Errorf("%q names no entry of a directory", path)
	}
	d, err := p.openDir(parent)
	return d, base, err
}

// mkdirAll makes a directory and its parents, as the caller may.
func (p *place) mkdirAll(path string, mode uint64) error {
	i, err := p.stat(path)
	if err == nil {
		if i.typ != KindDir {
			return errNotDir
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent, base, _ := split(path)
	if base == "" {
		return err
	}
	if err := p.mkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("%s: %w", strings.TrimRight(parent, "/"), err)
	}
	d, err := p.openDir(parent)
	if err != nil {
		return err
	}
	defer d.close()
	return makeDir(d, base, mode)
}

// makeDir makes a directory with the mode, whatever the umask is.
func makeDir(d *dir, name string, mode uint64) error {
	if err := d.mkdir(name); err != nil {
		return err
	}
	made, err := d.openDir(name, false)
	if err != nil {
		return err
	}
	defer made.close()
	return made.setMode(mode)
}
