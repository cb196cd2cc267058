package files

import (
	"cmp"
	"io"
)

// A Content reads one file that a process sends which carries out a [Pull].
type Content struct {
	Frame *Frame // what the file is

	r     *reader
	hash  *digest
	got   uint64
	zeros uint64 // of a hole, that have not been read
	err   error
}

// OpenFrom returns the content of the file that is sent. A directory is an error.
func OpenFrom(c Conn) (*Content, error) {
	w := newWriter(c.In)
	if err := w.tell(&Frame{Kind: KindOptions, Options: Options{AllowChanged: true}}); err != nil {
		return nil, err
	}
	r := newReader(c.Out)
	f, err := r.next()
	switch {
	case err != nil:
		return nil, unexpected(err)
	case f != nil && f.Kind == KindDone && f.Text != "":
		return nil, f.entryError()
	case f != nil && f.Kind == KindDir:
		return nil, &EntryError{Text: "is a directory"}
	case f == nil || f.Kind != KindFile:
		return nil, broken("no file")
	}
	content := &Content{Frame: f, r: r, hash: newDigest(&Options{})}
	if !f.Ask {
		return content, nil
	}
	if err := w.tell(&Frame{Kind: KindHave}); err != nil {
		return nil, err
	}
	if from, err := r.next(); err != nil || from == nil || from.Kind != KindFrom || from.Offset != 0 {
		return nil, broken("no offset after a question")
	}
	return content, nil
}

// Read is that of an io.Reader. The last error before io.EOF says whether the content was whole.
func (c *Content) Read(p []byte) (int, error) {
	for c.err == nil && len(p) > 0 {
		if c.zeros > 0 {
			n := min(uint64(len(p)), c.zeros)
			clear(p[:n])
			c.zeros -= n
			return int(n), nil
		}
		n, err := c.r.read(p)
		if n > 0 {
			c.hash.write(p[:n])
			c.err = c.count(uint64(n))
			return n, c.err
		}
		if err == nil {
			err = c.next()
		}
		c.err = err
	}
	return 0, c.err
}

func (c *Content) count(n uint64) error {
	if n > c.Frame.Size-c.got {
		return broken("a file has more than the %d bytes that were announced", c.Frame.Size)
	}
	c.got += n
	return nil
}

// next reads one frame. It returns io.EOF at the end of a file that is whole.
func (c *Content) next() error {
	f, err := c.r.next()
	switch {
	case err != nil:
		return unexpected(err)
	case f == nil:
		return nil
	case f.Kind == KindHole:
		c.hash.hole(f.Size)
		c.zeros = f.Size
		return c.count(f.Size)
	case f.Kind == KindError:
		return f.entryError()
	case f.Kind != KindEnd:
		return broken("unexpected frame %q within a file", f.Kind)
	case f.Changed:
		return errChanged
	case c.got != c.Frame.Size:
		return broken("a file has %d bytes, and %d were announced", c.got, c.Frame.Size)
	}
	return cmp.Or(c.hash.check(f), io.EOF)
}
