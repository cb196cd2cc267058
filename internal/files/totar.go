package files

import (
	"archive/tar"
	"errors"
	"io"
	"strings"
	"time"
)

// PullTar writes to out as a tar stream (PAX) what a process sends that carries out a [Pull].
func PullTar(c Conn, from string, out io.Writer, o Options, e Events) (Counts, error) {
	m := &monitor{events: e}
	w := newWriter(c.In)
	if err := w.tell(&Frame{Kind: KindOptions, Options: o}); err != nil {
		return Counts{}, err
	}
	rc := newReceiver(newReader(c.Out), w, o)
	rc.Report, rc.Progress, rc.Summed, rc.source = m.failed, m.progress, m.summed, sourceAt(from)
	t := &archive{rc: rc, tar: tar.NewWriter(out), inodes: make(map[uint64]string)}
	err := t.run()
	if err == nil {
		err = t.tar.Close()
	}
	return rc.counts, err
}

// An archive makes a tar stream of frames.
type archive struct {
	rc     *Receiver
	tar    *tar.Writer
	open   []string // the names of the directories that have begun; empty: one whose content alone counts
	inodes map[uint64]string
	known  int // size of inodes
}

func (t *archive) run() error {
	for {
		f, err := t.rc.r.next()
		switch {
		case err != nil:
			return unexpected(err)
		case f == nil:
			return broken("data outside a file")
		case f.Kind == KindDone && f.Text != "":
			return f.entryError()
		case f.Kind == KindDone:
			return nil
		}
		if err := t.take(f); err != nil {
			return err
		}
	}
}

func (t *archive) take(f *Frame) error {
	if len(t.open) == 0 && f.Kind != KindError && f.Kind != KindUp {
		if err := t.rc.source.check(f); err != nil {
			return err
		}
	}
	h := t.header(f)
	switch f.Kind {
	case KindError:
		t.rc.Report(f.entryError())
		return nil
	case KindUp:
		if len(t.open) == 0 {
			return broken("the end of a directory outside one")
		}
		t.open = t.open[:len(t.open)-1]
		return nil
	case KindDir:
		return t.enter(f, h)
	case KindFile:
		return t.file(f, h)
	case KindSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.Target
	case KindSpecial:
		if !t.rc.Options.Special {
			return broken("a special file, which nobody has asked for")
		}
		h.Typeflag = map[Kind]byte{typeFifo: tar.TypeFifo, typeCharacter: tar.TypeChar, typeBlock: tar.TypeBlock}[f.Type]
		h.Devmajor, h.Devminor = int64(f.Major), int64(f.Minor)
	case KindLink:
		known, ok := t.inodes[f.Inode]
		if !ok {
			return t.rc.fail(h.Name, errors.New("the file that it is another name of was not copied"))
		}
		h.Typeflag, h.Linkname = tar.TypeLink, known
	default:
		return broken("unexpected frame %q", f.Kind)
	}
	t.rc.counts.Files++
	return t.tar.WriteHeader(h)
}

func (t *archive) header(f *Frame) *tar.Header {
	h := &tar.Header{
		Format: tar.FormatPAX, Name: t.path(f.Name), Mode: int64(t.rc.mode(f)), ModTime: time.Unix(f.Sec, int64(f.Nsec)),
	}
	if f.Attrs != "" {
		h.PAXRecords = t.attrs(f)
	}
	if t.rc.owned() {
		h.Uid, h.Gid, h.Uname, h.Gname = int(f.UID), int(f.GID), f.User, f.Group
	}
	return h
}

// path is that of an entry of the directory that is open.
func (t *archive) path(name string) string {
	path := strings.Join(append(t.open[:len(t.open):len(t.open)], name), "/")
	return strings.TrimPrefix(path, "/") // the first name may be empty
}

func (t *archive) enter(f *Frame, h *tar.Header) error {
	if len(t.open) >= MaxDepth {
		return broken("more than %d directories within one another", MaxDepth)
	}
	h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
	if len(t.open) == 0 && f.Content {
		f.Name, h.Name = "", "./"
	}
	t.open = append(t.open, f.Name)
	return t.tar.WriteHeader(h)
}

func (t *archive) file(f *Frame, h *tar.Header) error {
	h.Typeflag, h.Size = tar.TypeReg, int64(f.Size)
	if err := t.tar.WriteHeader(h); err != nil {
		return err
	}
	to := &tarSink{w: t.tar}
	c := t.rc.content(f, to)
	if f.Ask {
		if _, err := t.rc.agree(nil, c); err != nil {
			return err
		}
	}
	if err := c.receive(t.rc); err != nil {
		return err
	}
	if c.bad != nil && !errors.Is(c.bad, errHash) {
		return c.bad // nobody takes the stream
	}
	if f.Inode != 0 && t.known < maxKnown {
		t.known += len(h.Name)/16 + 1
		t.inodes[f.Inode] = h.Name
	}
	if !c.whole { // the header has promised as many bytes
		if err := to.skip(int64(f.Size - c.got)); err != nil {
			return err
		}
		return t.rc.fail(h.Name, c.bad)
	}
	return t.rc.madeFile(h.Name, c, nil)
}

// A tarSink writes the content of a file to a tar stream, holes as zeros.
type tarSink struct{ w io.Writer }

func (s *tarSink) write(p []byte) error {
	_, err := s.w.Write(p)
	return err
}

func (s *tarSink) skip(size int64) error {
	zeros := make([]byte, min(size, smallFile))
	for size > 0 {
		n := min(size, int64(len(zeros)))
		if err := s.write(zeros[:n]); err != nil {
			return err
		}
		size -= n
	}
	return nil
}
