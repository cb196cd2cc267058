package proc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxField is how long a field may be: as long as a path. One that is longer reads
// as empty.
const maxField = 4096

// entries reads lines whose fields stand between colons, passwd(5) and group(5). Lines
// may have any length: no more than maxField bytes of each field are kept.
type entries struct {
	in    *bufio.Reader
	field []byte
	end   byte // what the last field ended with; '\n': the line is over

	fields [7][]byte // of readFields
}

func newEntries(r io.Reader) *entries {
	return &entries{in: bufio.NewReaderSize(r, 32<<10), end: '\n'}
}

// next reads up to one of stops. The field is valid until the next call. The error is
// io.EOF if there is no other line.
func (e *entries) next(stops string) ([]byte, error) {
	e.field = e.field[:0]
	begun := e.end != '\n'
	for {
		if _, err := e.in.Peek(1); errors.Is(err, io.EOF) && begun {
			e.end = '\n' // of a last line that has none
			return e.kept(), nil
		} else if err != nil {
			return nil, err
		}
		begun = true
		b, _ := e.in.Peek(e.in.Buffered())
		i := bytes.IndexAny(b, stops)
		if i < 0 {
			e.keep(b)
			_, _ = e.in.Discard(len(b))
			continue
		}
		e.keep(b[:i])
		e.end = b[i]
		_, _ = e.in.Discard(i + 1)
		return e.kept(), nil
	}
}

// keep adds to the field, up to one byte more than it may have.
func (e *entries) keep(b []byte) {
	e.field = append(e.field, b[:min(len(b), maxField+1-len(e.field))]...)
}

func (e *entries) kept() []byte {
	if len(e.field) > maxField {
		return nil
	}
	return e.field
}

// readFields reads the first n fields of a line into e.fields, if it has as many.
func (e *entries) readFields(n int) (ok bool, err error) {
	for i := range n {
		if i > 0 && e.end == '\n' {
			return false, nil
		}
		field, err := e.next(":\n")
		if err != nil {
			return false, err
		}
		e.fields[i] = append(e.fields[i][:0], field...)
	}
	return true, nil
}

// skip reads the rest of the line.
func (e *entries) skip() (err error) {
	for e.end != '\n' && err == nil {
		_, err = e.next("\n")
	}
	return err
}

// each calls read at the beginning of each line, until it says that it is done.
func (e *entries) each(read func(e *entries) (done bool, err error)) error {
	for {
		done, err := read(e)
		if err == nil && !done {
			err = e.skip()
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case done || err != nil:
			return err
		}
	}
}

// eachEntry calls read at the beginning of each line of a file, as [entries.each]. A
// file that is not there has none. One that cannot be read is an error: a user must
// not lose a group, or get another gid, because the agent is out of descriptors.
func eachEntry(path string, read func(e *entries) (done bool, err error)) error {
	file, err := os.Open(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: %w", ErrNotPermitted, err)
	case err != nil:
		return startError(err)
	}
	defer file.Close()
	if err := newEntries(file).each(read); err != nil {
		return fmt.Errorf("%s: %w", path, startError(err))
	}
	return nil
}
