package files

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
)

const (
	// smallFile is up to how many bytes a file is one piece: the receiver makes it when it
	// has all of it.
	smallFile = 64 << 10

	// askSize is from how many bytes on the sender asks what the receiver has already.
	askSize = 4 << 20

	// blockSize is for how many bytes a KindHave has one hash.
	blockSize = 1 << 20
)

var errChanged = errors.New("the file changed while it was read")

// A Sender sends a file or a directory as frames.
type Sender struct {
	Options Options

	// Report is called for what is not sent, on the goroutine of Send. Others of the same
	// directory are sent.
	Report func(*EntryError)

	// Progress is called now and then with what has been sent. nil: it is not.
	Progress func(Counts)

	// Summed is called with the SHA-256 of each file that is sent, if it was asked for. nil: it is not.
	Summed func(path, sum string)

	// answer returns the receiver's next KindHave.
	answer func() (*Frame, error)

	w      *writer
	buf    []byte
	inodes map[[2]uint64]uint64 // numbers of files with several names
	within []info               // with Follow: the directories that are being sent
	depth  int                  // how many directories are being sent
	owners owners
	counts Counts
}

// newSender returns a Sender that writes to w.
func newSender(w *writer, o Options) *Sender {
	return &Sender{Options: o, w: w, buf: newBuffer(headSize, MaxData), inodes: make(map[[2]uint64]uint64), owners: newOwners()}
}

// sendPath sends what a path leads to. The error is that of the other side, or of the path itself.
func (s *Sender) sendPath(p *place, path string) error {
	if path == "" {
		return errEmptyPath
	}
	if p.root != nil && s.Options.Follow {
		return fmt.Errorf("%w: links cannot be followed below --files-root", errors.ErrUnsupported)
	}
	_, base, slash := split(path)
	i, err := p.stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	case i.typ == KindDir:
		return s.sendTop(p, path, base)
	case i.special != 0 && i.special != typeSocket && s.Options.Special && !slash:
		return s.special(i, base, base)
	case i.typ != KindFile || slash || base == "":
		return fmt.Errorf("%s: %s", path, i.reason(slash))
	}
	f, i, err := p.open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.close()
	return s.file(f, i, base, base)
}

// reason says why i is not copied.
func (i *info) reason(slash bool) string {
	if i.typ == KindFile && slash {
		return errNotDir.Error()
	}
	return i.otherType + ", which is not copied"
}

func (s *Sender) sendTop(p *place, path, base string) error {
	d, err := p.openDir(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer d.close()
	i, err := d.stat()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	f := i.frame(KindDir, base)
	if base == "" {
		f.Content, f.Name = true, "content" // the name has no effect
	}
	return s.directory(d, i, f, base)
}

// directory sends a directory with its content.
func (s *Sender) directory(d *dir, i *info, f *Frame, path string) error {
	if s.Options.Follow {
		s.within = append(s.within, *i)
		defer func() { s.within = s.within[:len(s.within)-1] }()
	}
	s.depth++
	defer func() { s.depth-- }()
	s.setOwner(f, i)
	if err := s.readAttrs(f, d); err != nil {
		_ = s.fail(path, err)
	}
	if err := s.w.send(f); err != nil {
		return err
	}
	for {
		names, err := d.names()
		for _, name := range names {
			if err := s.entry(d, name, join(path, name)); err != nil {
				return err
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				_ = s.fail(path, err)
			}
			return s.w.send(&Frame{Kind: KindUp})
		}
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "/" + name
}

// entry sends one entry of a directory. The error is that of the other side.
func (s *Sender) entry(d *dir, name, path string) error {
	i, err := d.lstat(name, s.Options.Follow)
	if err == nil {
		err = checkName(name)
	}
	if err != nil {
		return s.fail(path, err)
	}
	switch i.typ {
	case KindDir:
		return s.subdirectory(d, name, path)
	case KindFile:
		return s.openFile(d, i, name, path)
	case KindSymlink:
		target, err := d.readlink(name)
		if err != nil {
			return s.fail(path, err)
		}
		f := i.frame(KindSymlink, name)
		f.Target = target
		s.setOwner(f, i)
		s.counts.Files++
		return s.w.send(f)
	default:
		return s.special(i, name, path)
	}
}

func (s *Sender) subdirectory(d *dir, name, path string) error {
	if s.depth == MaxDepth {
		return s.fail(path, fmt.Errorf("more than %d directories within one another", MaxDepth))
	}
	sub, err := d.openDir(name, s.Options.Follow)
	if err != nil {
		return s.fail(path, err)
	}
	defer sub.close()
	i, err := sub.stat()
	if err != nil {
		return s.fail(path, err)
	}
	for _, above := range s.within {
		if above.dev == i.dev && above.ino == i.ino {
			return s.fail(path, errors.New("the link leads to a directory that it is in"))
		}
	}
	return s.directory(sub, i, i.frame(KindDir, name), path)
}

func (s *Sender) openFile(d *dir, i *info, name, path string) error {
	if n, sent := s.inodes[[2]uint64{i.dev, i.ino}]; sent && i.nlink > 1 && !s.Options.Follow {
		s.counts.Files++
		return s.w.send(&Frame{Kind: KindLink, Name: name, Inode: n})
	}
	f, i, err := d.open(name, s.Options.Follow)
	if err != nil {
		return s.fail(path, err)
	}
	defer f.close()
	return s.file(f, i, name, path)
}

// file sends a regular file. i is how it was when it was opened.
func (s *Sender) file(f *file, i *info, name, path string) error {
	head := i.frame(KindFile, name)
	s.setOwner(head, i)
	if err := s.readAttrs(head, f); err != nil {
		return s.fail(path, err)
	}
	if key := [2]uint64{i.dev, i.ino}; i.nlink > 1 && !s.Options.Follow {
		s.inodes[key] = uint64(len(s.inodes)) + 1
		head.Inode = s.inodes[key]
	}
	hash := newDigest(&s.Options)
	offset, err := s.begin(f, head, hash)
	if err != nil {
		return err
	}
	s.counts.Files++
	if s.depth == 0 {
		s.counts.expect(head.Size - uint64(offset))
	}
	bad, err := s.content(f, i, offset, hash)
	if err != nil {
		return err
	}
	if bad == nil && !s.Options.AllowChanged {
		bad = unchanged(f, i)
	}
	if bad == nil && i.size == 0 {
		bad = empty(f)
	}
	if bad != nil {
		_ = s.fail(path, bad)
	}
	if s.Progress != nil {
		s.Progress(s.counts)
	}
	return s.end(path, hash.end(bad != nil))
}

func unchanged(f *file, before *info) error {
	after, err := f.stat()
	if err == nil && !before.sameContent(after) {
		err = errChanged
	}
	return err
}

var errNotEmpty = errors.New("it has content but a size of 0, as files of /proc have: read it with a command such as cat")

// empty returns an error if f, whose size is 0, has content. Its size is not that of its content then.
func empty(f *file) error {
	if n, _ := f.Read(make([]byte, 1)); n > 0 {
		return errNotEmpty
	}
	return nil
}

// begin sends the frame of a file, and returns the offset at which the data begins.
func (s *Sender) begin(f *file, head *Frame, hash *digest) (int64, error) {
	if head.Size < askSize || s.answer == nil {
		return 0, s.w.send(head)
	}
	head.Ask = true
	if err := s.w.tell(head); err != nil {
		return 0, err
	}
	have, err := s.answer()
	if err != nil {
		return 0, err
	}
	blocks := s.equalBlocks(f, have.Hashes, int64(head.Size), hash)
	offset := blocks * blockSize
	return offset, s.w.send(&Frame{Kind: KindFrom, Offset: uint64(offset)})
}

// equalBlocks returns how many blocks at the beginning of f have these hashes, and adds
// those to hash.
func (s *Sender) equalBlocks(f *file, hashes string, size int64, hash *digest) (blocks int64) {
	if len(hashes) == 0 {
		return 0
	}
	block := make([]byte, blockSize)
	for ; len(hashes) >= 8 && (blocks+1)*blockSize <= size; hashes = hashes[8:] {
		if _, err := io.ReadFull(f, block); err != nil || xxhash.Sum64(block) != binary.BigEndian.Uint64([]byte(hashes[:8])) {
			break
		}
		_ = hash.blocks([]byte(hashes[:8]), bytes.NewReader(block)) // which has as many bytes
		blocks++
	}
	return blocks
}

// content sends the bytes of f from offset on. bad is why they cannot be read.
func (s *Sender) content(f *file, i *info, offset int64, hash *digest) (bad, err error) {
	if i.size <= smallFile && offset == 0 {
		return s.piece(f, offset, i.size, hash)
	}
	for offset < i.size {
		from, to, bad := f.extent(offset, i.size)
		if bad != nil {
			return bad, nil
		}
		if from > offset {
			if err := s.hole(from-offset, hash); err != nil {
				return nil, err
			}
		}
		if bad, err := s.piece(f, from, to, hash); bad != nil || err != nil {
			return bad, err
		}
		offset = to
	}
	return nil, nil
}

func (s *Sender) hole(size int64, hash *digest) error {
	hash.hole(uint64(size))
	s.counts.hole(uint64(size))
	return s.w.send(&Frame{Kind: KindHole, Size: uint64(size)})
}

// piece sends the bytes of f from one offset to another. f has been read up to the first.
func (s *Sender) piece(f *file, from, to int64, hash *digest) (bad, err error) {
	for from < to {
		n, bad := f.Read(s.buf[headSize:min(int64(len(s.buf)), headSize+to-from)])
		if errors.Is(bad, io.EOF) {
			return errChanged, nil
		}
		if bad != nil {
			return bad, nil
		}
		data := s.buf[:headSize+n]
		hash.write(data[headSize:])
		if err := s.w.data(data); err != nil {
			return nil, err
		}
		from += int64(n)
		s.counts.Bytes += uint64(n)
		if s.Progress != nil && to-from > smallFile {
			s.Progress(s.counts)
		}
	}
	return nil, nil
}

// fail reports that an entry is not sent. It returns nil: the others are.
func (s *Sender) fail(path string, err error) error {
	s.Report(entryError(path, err))
	return nil
}

// end ends a file.
func (s *Sender) end(path string, f *Frame) error {
	if s.Summed != nil && f.SHA256 != "" {
		s.Summed(path, f.SHA256)
	}
	return s.w.send(f)
}

// reader sends a file whose content r has.
func (s *Sender) reader(head *Frame, path string, r io.Reader) error {
	hash := newDigest(&s.Options)
	if err := s.w.send(head); err != nil {
		return err
	}
	s.counts.Files++
	var bad error
	for left := head.Size; left > 0 && bad == nil; {
		var n int
		n, bad = r.Read(s.buf[headSize:min(uint64(len(s.buf)), headSize+left)])
		if n > 0 {
			hash.write(s.buf[headSize : headSize+n])
			if err := s.w.data(s.buf[:headSize+n]); err != nil {
				return err
			}
		}
		if left -= uint64(n); left == 0 {
			bad = nil
		}
		s.counts.Bytes += uint64(n)
		if s.Progress != nil {
			s.Progress(s.counts)
		}
	}
	if bad != nil {
		_ = s.fail(path, unexpected(bad))
	}
	return s.end(path, hash.end(bad != nil))
}
