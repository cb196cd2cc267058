//go:build unix

package files

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

var errReplaced = errors.New("it was replaced by another file meanwhile")

// A dir is an open directory. All its methods take names of one component, and follow no link.
type dir struct {
	fd   int
	list *os.File // owns fd
}

func newDir(fd int) *dir { return &dir{fd: fd, list: os.NewFile(uintptr(fd), "")} }

func (d *dir) close() { _ = d.list.Close() }

// names returns some of the names in the directory, each of them once, and io.EOF after the last.
func (d *dir) names() ([]string, error) { return d.list.Readdirnames(namesAtOnce) }

const namesAtOnce = 512

const dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC

// openDir opens a directory below d. follow: name may be a link to one, which may be anywhere.
func (d *dir) openDir(name string, follow bool) (*dir, error) {
	fd, err := openat(d.fd, name, dirFlags|noFollow(follow), 0)
	if err != nil {
		return nil, err
	}
	return newDir(fd), nil
}

func noFollow(follow bool) int {
	if follow {
		return 0
	}
	return unix.O_NOFOLLOW
}

// open opens a regular file for reading. It does not block on a fifo, and refuses it.
func (d *dir) open(name string, follow bool) (*file, *info, error) {
	return regular(openat(d.fd, name, unix.O_RDONLY|readFlags|noFollow(follow), 0))
}

const readFlags = unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC

// reopen opens a regular file for reading and writing.
func (d *dir) reopen(name string) (*file, *info, error) {
	return regular(openat(d.fd, name, unix.O_RDWR|readFlags|unix.O_NOFOLLOW, 0))
}

// regular returns the file that fd is, if it is a regular one.
func regular(fd int, err error) (*file, *info, error) {
	if err != nil {
		return nil, nil, err
	}
	f := &file{fd: fd}
	i, err := f.stat()
	if err == nil && i.typ != KindFile {
		err = errNotRegular
	}
	if err != nil {
		f.close()
		return nil, nil, err
	}
	return f, i, nil
}

// create makes a file that does not exist, with a mode that the umask limits.
func (d *dir) create(name string, mode uint64) (*file, error) {
	fd, err := openat(d.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(mode))
	if err != nil {
		return nil, err
	}
	return &file{fd: fd}, nil
}

func openat(fd int, name string, flags int, mode uint32) (int, error) {
	for {
		n, err := unix.Openat(fd, name, flags, mode)
		if err != unix.EINTR {
			return n, err
		}
	}
}

func (d *dir) stat() (*info, error) {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return nil, err
	}
	return infoOf(&st), nil
}

// lstat looks at an entry. follow: at what it leads to.
func (d *dir) lstat(name string, follow bool) (*info, error) {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if follow {
		flags = 0
	}
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd, name, &st, flags); err != nil {
		return nil, err
	}
	return infoOf(&st), nil
}

func infoOf(st *unix.Stat_t) *info {
	i := &info{
		mode: uint64(st.Mode) & 0o7777, size: st.Size,
		sec: seconds(st.Mtim.Sec), nsec: uint64(st.Mtim.Nsec),
		csec: seconds(st.Ctim.Sec), cnsec: uint64(st.Ctim.Nsec),
		uid: uint64(st.Uid), gid: uint64(st.Gid), ino: st.Ino,
		dev: wide(st.Dev), nlink: wide(st.Nlink),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		i.typ = KindDir
	case unix.S_IFREG:
		i.typ = KindFile
	case unix.S_IFLNK:
		i.typ = KindSymlink
	case unix.S_IFIFO:
		i.otherType = "a fifo"
	case unix.S_IFSOCK:
		i.otherType = "a socket"
	default:
		i.otherType = "a device"
	}
	if i.typ == 0 {
		i.setSpecial(st)
	}
	return i
}

func timespec(sec int64, ns uint64) unix.Timespec {
	t := unix.NsecToTimespec(int64(ns))
	setSeconds(&t.Sec, sec)
	return t
}

func setSeconds[T ~int32 | ~int64](to *T, sec int64) { *to = T(sec) }

func seconds[T ~int32 | ~int64](n T) int64 { return int64(n) }

// wide returns a number that has another type on each system.
func wide[T ~int32 | ~uint16 | ~uint32 | ~uint64](n T) uint64 { return uint64(n) }

func (d *dir) readlink(name string) (string, error) {
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(d.fd, name, buf[:])
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func (d *dir) mkdir(name string) error            { return unix.Mkdirat(d.fd, name, 0o700) }
func (d *dir) symlink(target, name string) error  { return unix.Symlinkat(target, d.fd, name) }
func (d *dir) unlink(name string) error           { return unix.Unlinkat(d.fd, name, 0) }
func (d *dir) rmdir(name string) error            { return unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR) }
func (d *dir) setMode(mode uint64) error          { return unix.Fchmod(d.fd, uint32(mode)) }
func (d *dir) setTime(sec int64, ns uint64) error { return setTime(d.fd, sec, ns) }
func (d *dir) setOwner(uid, gid int) error        { return unix.Fchown(d.fd, uid, gid) }

// rename replaces what to has under the name, unless that is a directory.
func (d *dir) rename(name string, to *dir, newName string) error {
	return unix.Renameat(d.fd, name, to.fd, newName)
}

// link makes one more name of a file. If from is not that file any more, there is no new name.
func (d *dir) link(name string, to *dir, newName string, dev, ino uint64) error {
	if err := unix.Linkat(d.fd, name, to.fd, newName, 0); err != nil {
		return err
	}
	i, err := to.lstat(newName, false)
	if err == nil && (i.dev != dev || i.ino != ino) {
		err = errReplaced
	}
	if err != nil {
		_ = to.unlink(newName)
	}
	return err
}

func (d *dir) setLinkTime(name string, sec int64, ns uint64) error {
	t := timespec(sec, ns)
	return unix.UtimesNanoAt(d.fd, name, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}

func (d *dir) setLinkOwner(name string, uid, gid int) error {
	return unix.Fchownat(d.fd, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

// A file is an open regular file.
type file struct{ fd int }

func (f *file) close() { _ = unix.Close(f.fd) }

func (f *file) stat() (*info, error) { return (&dir{fd: f.fd}).stat() }

// Read is that of an io.Reader.
func (f *file) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(f.fd, p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (f *file) write(p []byte) error {
	for len(p) > 0 {
		n, err := unix.Write(f.fd, p)
		if err != nil && err != unix.EINTR {
			return err
		}
		p = p[max(n, 0):]
	}
	return nil
}

func (f *file) seek(offset int64) error {
	_, err := unix.Seek(f.fd, offset, io.SeekStart)
	return err
}

func (f *file) truncate(size int64) error         { return unix.Ftruncate(f.fd, size) }
func (f *file) setMode(mode uint64) error         { return unix.Fchmod(f.fd, uint32(mode)) }
func (f *file) setOwner(uid, gid int) error       { return unix.Fchown(f.fd, uid, gid) }
func (f *file) setTime(sec int64, n uint64) error { return setTime(f.fd, sec, n) }

// lock reports whether nobody else writes the file in this way.
func (f *file) lock() bool { return unix.Flock(f.fd, unix.LOCK_EX|unix.LOCK_NB) == nil }

// own reports whether i is of a file that only this user can have written.
func (i *info) own() bool {
	return i.nlink == 1 && i.mode == 0o600 && i.uid == uint64(unix.Geteuid())
}

func checkLocalName(string) error { return nil }

// exactModes has files made with the modes that are asked for.
func exactModes() { unix.Umask(0) }
