package handover

import (
	"bytes"
	"io"
	"os"
)

// A Program is what Exec executes.
type Program struct {
	Path string
	Argv []string
	Env  []string
	Keep []int // descriptors that it gets. The others that have close-on-exec are closed
}

// Exec executes a program in the place of this one. It has the limit of open files that this one
// was started with. SIGHUP is ignored there, so that it does not end the program before that
// can catch signals. Exec returns only if it fails. This program then has all as it was. On
// systems other than Linux the error is [errors.ErrUnsupported].
func Exec(p Program) error { return execute(p) }

// Seal returns a sealed file in memory with the document and all that was put. The caller closes it.
func (w *Writer) Seal(document any) (*os.File, error) { return w.seal(document) }

// Open returns the sealed file that a descriptor is, and that Close then closes. The error wraps
// [ErrState].
func Open(fd int) (*os.File, error) { return open(fd) }

// ReadAll is [Read] for a stream, of whose bytes behind the document nobody asks.
func ReadAll(from io.Reader, document any) error {
	all, err := io.ReadAll(io.LimitReader(from, MaxDocument))
	if err != nil {
		return err
	}
	_, err = Read(bytes.NewReader(all), document)
	return err
}
