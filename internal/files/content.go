package files

import (
	"errors"
	"io/fs"
)

// A sink takes the content of a file.
type sink interface {
	write(p []byte) error
	skip(size int64) error // zeros that take no room
}

// A content is the content of a file while it comes.
type content struct {
	frame *Frame
	to    sink // nil: it is not wanted
	hash  *digest
	got   uint64 // up to this offset
	bytes uint64 // without holes
	bad   error  // of the sink, or of the hash
	whole bool   // the sender has sent all of it, unchanged
	sum   string // its SHA-256, if it was asked for
}

func (rc *Receiver) content(f *Frame, to sink) *content {
	return &content{frame: f, to: to, hash: newDigest(&rc.Options)}
}

// receive takes what comes, up to the end of the file. The error ends the transfer; that of the
// sink is in c.
func (c *content) receive(rc *Receiver) error {
	for {
		f, err := rc.r.next()
		switch {
		case err != nil:
			return unexpected(err)
		case f == nil:
			err = c.data(rc)
		case f.Kind == KindHole:
			err = c.hole(rc, f.Size)
		case f.Kind == KindError:
			rc.Report(f.entryError())
		case f.Kind == KindEnd:
			return c.end(f)
		default:
			err = broken("unexpected frame %q within a file", f.Kind)
		}
		if err != nil {
			return err
		}
	}
}

// data takes one KindData.
func (c *content) data(rc *Receiver) error {
	for {
		n, err := rc.r.read(rc.buf)
		if n == 0 {
			return err
		}
		if err := c.grow(uint64(n)); err != nil {
			return err
		}
		c.hash.write(rc.buf[:n])
		if c.to != nil && c.bad == nil {
			c.bad = c.to.write(rc.buf[:n])
		}
		c.bytes += uint64(n)
		rc.counts.Bytes += uint64(n)
		if rc.Progress != nil && c.frame.Size > smallFile {
			rc.Progress(rc.counts)
		}
	}
}

// grow counts bytes. A sender must not send more than it has announced.
func (c *content) grow(n uint64) error {
	if n > c.frame.Size-c.got {
		return broken("a file has more than the %d bytes that were announced", c.frame.Size)
	}
	c.got += n
	return nil
}

func (c *content) hole(rc *Receiver, size uint64) error {
	if err := c.grow(size); err != nil {
		return err
	}
	c.hash.hole(size)
	rc.counts.hole(size)
	if c.to != nil && c.bad == nil {
		c.bad = c.to.skip(int64(size))
	}
	return nil
}

func (c *content) end(f *Frame) error {
	switch {
	case f.Changed:
		return nil
	case c.got != c.frame.Size:
		return broken("a file has %d bytes, and %d were announced", c.got, c.frame.Size)
	case c.bad == nil:
		c.bad = c.hash.check(f)
	}
	c.sum = f.SHA256
	c.whole = c.bad == nil
	return nil
}

// file makes a regular file. The error ends the transfer.
func (rc *Receiver) file(f *Frame) error {
	if rc.failed > 0 {
		return rc.drain(f)
	}
	s, err := rc.spot(f)
	switch {
	case errors.Is(err, ErrProtocol):
		return err
	case err != nil:
		_ = rc.fail(f.Name, err)
		return rc.drain(f)
	}
	if f.Size <= smallFile {
		return rc.small(s, f)
	}
	return rc.large(s, f)
}

// drain reads over the content of a file.
func (rc *Receiver) drain(f *Frame) error {
	c := rc.content(f, nil)
	if f.Ask {
		if _, err := rc.agree(nil, c); err != nil {
			return err
		}
	}
	err := c.receive(rc)
	rc.counts.Bytes -= c.bytes
	return err
}

// A piece is the content of a small file.
type piece struct{ data []byte }

func (p *piece) write(b []byte) error {
	p.data = append(p.data, b...)
	return nil
}

func (p *piece) skip(size int64) error {
	p.data = append(p.data, make([]byte, size)...)
	return nil
}

// small makes a file once all of its content is there.
func (rc *Receiver) small(s *spot, f *Frame) error {
	rc.piece.data = rc.piece.data[:0]
	c := rc.content(f, &rc.piece)
	if f.Ask {
		return broken("a question about a file of %d bytes", f.Size)
	}
	if err := c.receive(rc); err != nil {
		return err
	}
	if !c.whole {
		rc.counts.Bytes -= c.bytes
		return rc.fail(s.final, c.bad)
	}
	err := fs.ErrExist
	if s.fresh {
		err = rc.makeSmall(s, f)
	}
	if errors.Is(err, fs.ErrExist) {
		err = rc.replace(s, func(temp *spot) error { return rc.makeSmall(temp, f) })
	}
	return rc.madeFile(s.final, c, err)
}

// madeFile is made for a file with content.
func (rc *Receiver) madeFile(name string, c *content, err error) error {
	if err == nil && rc.Summed != nil && c.sum != "" {
		rc.Summed(rc.path(name), c.sum)
	}
	return rc.made(name, err)
}

// made counts a file, or reports that it could not be made.
func (rc *Receiver) made(name string, err error) error {
	if err != nil {
		return rc.fail(name, err)
	}
	rc.counts.Files++
	if rc.Progress != nil {
		rc.Progress(rc.counts)
	}
	return nil
}

// makeSmall makes the file s, which does not exist.
func (rc *Receiver) makeSmall(s *spot, f *Frame) error {
	file, err := s.dir.create(s.name, 0o600)
	if err != nil {
		return err
	}
	defer file.close()
	if err = file.write(rc.piece.data); err == nil {
		err = rc.finishEntry(file, f, s.final)
	}
	if err == nil && f.Inode != 0 {
		err = rc.rememberFile(file, s, f)
	}
	if err != nil {
		_ = s.dir.unlink(s.name)
	}
	return err
}

func (rc *Receiver) rememberFile(file *file, s *spot, f *Frame) error {
	i, err := file.stat()
	if err == nil {
		rc.remember(f, s, i)
	}
	return err
}

// A disk is a sink that writes to a file.
type disk struct {
	file   *file
	offset int64 // the position in the file
}

func (d *disk) write(p []byte) error {
	d.offset += int64(len(p))
	return d.file.write(p)
}

func (d *disk) skip(size int64) error {
	d.offset += size
	return d.file.seek(d.offset)
}

// large makes a file under a temporary name, which is found again by the next attempt.
func (rc *Receiver) large(s *spot, f *Frame) error {
	p, err := rc.partial(s, f)
	if err != nil {
		_ = rc.fail(s.final, err)
		return rc.drain(f)
	}
	defer p.file.close()
	c := rc.content(f, nil)
	to := &disk{file: p.file}
	if f.Ask {
		to.offset, err = rc.agree(p, c)
	}
	c.to = to
	if len(rc.levels) == 0 {
		rc.counts.expect(f.Size - c.got)
	}
	if err == nil {
		err = c.receive(rc)
	}
	if err != nil {
		rc.cut(s, p, c, err)
		return err
	}
	if c.whole {
		c.bad = rc.complete(s, p, f)
	}
	if !c.whole || c.bad != nil {
		_ = s.dir.unlink(p.name)
		rc.counts.Bytes -= c.bytes
		return rc.fail(s.final, c.bad)
	}
	return rc.madeFile(s.final, c, nil)
}

// complete gives a whole file its metadata and its name.
func (rc *Receiver) complete(s *spot, p *partial, f *Frame) error {
	if err := p.file.truncate(int64(f.Size)); err != nil {
		return err
	}
	if err := rc.finishEntry(p.file, f, s.final); err != nil {
		return err
	}
	if f.Inode != 0 {
		if err := rc.rememberFile(p.file, s, f); err != nil {
			return err
		}
	}
	return s.take(p.name)
}

// cut keeps what there is of a file if the next attempt can go on with it.
func (rc *Receiver) cut(s *spot, p *partial, c *content, err error) {
	if c.got < blockSize || !c.frame.Ask || c.bad != nil || !p.findable || errors.Is(err, ErrProtocol) {
		_ = s.dir.unlink(p.name)
		return
	}
	_ = p.file.truncate(int64(c.got))
	rc.Kept = rc.path(p.name)
}
