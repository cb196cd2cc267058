//go:build unix

package files

import "golang.org/x/sys/unix"

// openPlace returns the place whose root is a directory; empty: the file system as the process sees it.
func openPlace(root string) (*place, error) {
	if root == "" {
		return &place{}, nil
	}
	fd, err := openat(unix.AT_FDCWD, root, dirFlags, 0)
	if err != nil {
		return nil, err
	}
	return &place{root: newDir(fd)}, nil
}

func (p *place) fd(path string, flags int) (int, error) {
	if p.root != nil {
		return p.root.openIn(path, flags)
	}
	return openat(unix.AT_FDCWD, path, flags|unix.O_CLOEXEC, 0)
}

func (p *place) openDir(path string) (*dir, error) {
	fd, err := p.fd(path, dirFlags)
	if err != nil {
		return nil, err
	}
	return newDir(fd), nil
}

// open opens a regular file for reading.
func (p *place) open(path string) (*file, *info, error) {
	return regular(p.fd(path, unix.O_RDONLY|readFlags))
}

// stat looks at what path leads to.
func (p *place) stat(path string) (*info, error) {
	var st unix.Stat_t
	if p.root == nil {
		if err := unix.Stat(path, &st); err != nil {
			return nil, err
		}
		return infoOf(&st), nil
	}
	return p.root.statIn(path)
}
