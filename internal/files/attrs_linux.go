package files

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

func (f *file) attrs(keep func(string) bool) ([]attr, error) { return attrsOf(f.fd, keep) }
func (f *file) setAttr(a attr) error                         { return setAttr(f.fd, a) }
func (f *file) removeAttr(name string) error                 { return removeAttr(f.fd, name) }

func (d *dir) attrs(keep func(string) bool) ([]attr, error) { return attrsOf(d.fd, keep) }
func (d *dir) setAttr(a attr) error                         { return setAttr(d.fd, a) }
func (d *dir) removeAttr(name string) error                 { return removeAttr(d.fd, name) }

// maxAttrSize is that of a list of names, and of a value (XATTR_SIZE_MAX).
const maxAttrSize = 64 << 10

// attrsOf returns the attributes of an open file. A file system without any has none.
func attrsOf(fd int, keep func(string) bool) ([]attr, error) {
	buf := make([]byte, maxAttrSize)
	n, err := unix.Flistxattr(fd, buf)
	if errors.Is(err, unix.ENOTSUP) || n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var attrs []attr
	size := 0
	for _, name := range strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if !keep(name) {
			continue
		}
		n, err := unix.Fgetxattr(fd, name, buf)
		if errors.Is(err, unix.ENODATA) {
			continue // it has gone
		}
		if err != nil {
			return nil, err
		}
		if size += len(name) + n; size > maxAttrs {
			return nil, errTooManyAttrs
		}
		attrs = append(attrs, attr{name, string(buf[:n])})
	}
	return attrs, nil
}

func setAttr(fd int, a attr) error { return unix.Fsetxattr(fd, a.name, []byte(a.value), 0) }

// removeAttr removes an attribute, if there is one.
func removeAttr(fd int, name string) error {
	err := unix.Fremovexattr(fd, name)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}
