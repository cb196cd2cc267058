package files

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// A state is what there is at the path of a destination.
type state int

const (
	absent    state = iota
	directory       // or a link to one
	other           // a file, or a link to one
	orphan          // not even the directory that it would be in
)

// A way is how a source comes to its destination.
type way int

const (
	into  way = iota // under its own name, into the directory that the destination is
	named            // under the name of the destination
	merge            // its content, into the directory that the destination is
)

// wayTo decides how a source comes to the destination path, as cp(1) does. f is the frame of
// the source.
func wayTo(path string, s state, f *Frame, o *Options) (way, error) {
	_, base, slash := split(path)
	isDir := f.Kind == KindDir
	switch {
	case s == directory && o.Replace:
		return 0, fmt.Errorf("%s is a directory", path)
	case s == directory && f.Content:
		return merge, nil
	case s == directory:
		return into, nil
	case o.Several:
		return 0, fmt.Errorf("%s is not a directory: several sources need one", path)
	case s == orphan:
		return 0, &EntryError{Text: path + ": the directory that it would be in does not exist (--parents makes it)", Code: CodeNotExist}
	case s == other && isDir:
		return 0, fmt.Errorf("%s exists and is not a directory", path)
	case slash && !isDir || base == "":
		return 0, fmt.Errorf("%s is not a directory", path)
	default:
		return named, nil
	}
}

// A target is a destination whose path has been resolved.
type target struct {
	path  string
	state state
	dir   *dir   // the directory, or the one that it is or would be in; nil: orphan
	base  string // the name in dir; of a directory: empty
}

// target resolves the path of a destination.
func (p *place) target(path string, parents bool) (*target, error) {
	t := &target{path: path}
	i, err := p.stat(path)
	switch {
	case err == nil && i.typ == KindDir:
		t.state = directory
		t.dir, err = p.openDir(path)
		return t, err
	case err == nil:
		t.state = other
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	parent, base, _ := split(path)
	if base == "" {
		return nil, err
	}
	if parents && t.state == absent {
		if err := p.mkdirAll(parent, 0o755); err != nil {
			return nil, err
		}
	}
	t.dir, err = p.openDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		t.state = orphan
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	t.base = base
	return t, p.throughLink(t)
}

// throughLink has t be what a symbolic link leads to, if t is one.
func (p *place) throughLink(t *target) error {
	if p.root != nil || !t.dir.isLink(t.base) { // below a root the link itself is replaced
		return nil
	}
	if t.state == absent {
		return errors.New("a symbolic link that leads nowhere")
	}
	parent, base, _ := split(t.path)
	path, err := filepath.EvalSymlinks(filepath.Join(parent, base))
	if err != nil {
		return err
	}
	t.dir.close()
	t.dir, t.base, err = p.parent(path)
	return err
}

func (d *dir) isLink(name string) bool {
	i, err := d.lstat(name, false)
	return err == nil && i.typ == KindSymlink
}
