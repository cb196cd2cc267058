package files

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// FromTar is what a tar stream has. The destination has to be a directory: [Options.Several].
func FromTar(r io.Reader) Source {
	return func(s *Sender) error {
		u := &untar{s: s, inodes: make(map[string]uint64)}
		return u.run(tar.NewReader(r))
	}
}

// An untar makes frames of a tar stream, whose entries come in any order.
type untar struct {
	s      *Sender
	open   []string // the directories that the receiver is in
	inodes map[string]uint64
}

func (u *untar) run(r *tar.Reader) error {
	for {
		h, err := r.Next()
		if err == io.EOF {
			return u.enter(nil)
		}
		if err != nil {
			return fmt.Errorf("tar stream: %w", err)
		}
		if err := u.entry(h, r); err != nil {
			return err
		}
	}
}

// components returns the names in a path of a tar stream.
func components(path string) ([]string, error) {
	var names []string
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." {
			continue
		}
		if err := checkName(name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	if len(names) > MaxDepth {
		return nil, fmt.Errorf("more than %d directories within one another", MaxDepth)
	}
	return names, nil
}

func (u *untar) entry(h *tar.Header, r io.Reader) error {
	names, err := components(h.Name)
	if err != nil {
		return u.s.fail(h.Name, err)
	}
	if len(names) == 0 {
		return nil // the directory itself
	}
	parents, name := names[:len(names)-1], names[len(names)-1]
	if err := u.enter(parents); err != nil {
		return err
	}
	f := &Frame{Name: name, Mode: uint64(h.Mode) & 0o7777, Sec: h.ModTime.Unix(), Nsec: uint64(h.ModTime.Nanosecond())}
	if u.s.Options.Owner || u.s.Options.Numeric {
		f.UID, f.GID, f.User, f.Group = uint64(h.Uid), uint64(h.Gid), h.Uname, h.Gname
	}
	f.Attrs = u.attrs(h)
	switch h.Typeflag {
	case tar.TypeDir:
		f.Kind = KindDir
		u.open = append(u.open, name)
		return u.s.w.send(f)
	case tar.TypeReg:
		f.Kind, f.Size = KindFile, uint64(h.Size)
		f.Inode = uint64(len(u.inodes)) + 1
		u.inodes[strings.Join(names, "/")] = f.Inode
		return u.s.reader(f, strings.Join(names, "/"), r)
	case tar.TypeSymlink:
		f.Kind, f.Target = KindSymlink, h.Linkname
		return u.s.w.send(f)
	case tar.TypeLink:
		return u.link(f, h)
	case tar.TypeXGlobalHeader:
		return nil
	}
	return u.special(f, h)
}

// special sends a fifo or a device. Other entries are of a sort that is not known.
func (u *untar) special(f *Frame, h *tar.Header) error {
	f.Kind, f.Type = KindSpecial, map[byte]Kind{tar.TypeFifo: typeFifo, tar.TypeChar: typeCharacter, tar.TypeBlock: typeBlock}[h.Typeflag]
	if !u.s.Options.Special || f.Type == 0 {
		u.s.Report(&EntryError{Path: h.Name, Text: "a fifo or a device, which is not copied", Code: CodeUnsupported, Skipped: true})
		return nil
	}
	f.Major, f.Minor = uint64(h.Devmajor), uint64(h.Devminor)
	if err := f.checkSpecial(); err != nil {
		return u.s.fail(h.Name, err)
	}
	u.s.counts.Files++
	return u.s.w.send(f)
}

func (u *untar) link(f *Frame, h *tar.Header) error {
	names, err := components(h.Linkname)
	inode := u.inodes[strings.Join(names, "/")]
	if err == nil && inode == 0 {
		err = errors.New("the file that it is another name of does not come before it")
	}
	if err != nil {
		return u.s.fail(h.Name, err)
	}
	f.Kind, f.Inode = KindLink, inode
	return u.s.w.send(f)
}

// enter has the receiver go from the directory that it is in to another one.
func (u *untar) enter(names []string) error {
	common := 0
	for common < min(len(names), len(u.open)) && names[common] == u.open[common] {
		common++
	}
	for range u.open[common:] {
		if err := u.s.w.send(&Frame{Kind: KindUp}); err != nil {
			return err
		}
	}
	for _, name := range names[common:] {
		f := &Frame{Kind: KindDir, Name: name, Mode: 0o755, Sec: time.Now().Unix(), Keep: true}
		if err := u.s.w.send(f); err != nil {
			return err
		}
	}
	u.open = slices.Clone(names)
	return nil
}
