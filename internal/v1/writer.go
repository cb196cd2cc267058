package v1

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"sync"
)

// A writer writes frames, each by one call. It is safe for concurrent use.
type writer struct {
	to io.Writer

	mu   sync.Mutex // also held while to is written to: lines do not mix
	line []byte
}

// frames writes all of fs by one call.
func (w *writer) frames(fs ...*Frame) error {
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	enc.SetEscapeHTML(false)
	for _, f := range fs {
		start := lines.Len()
		if err := enc.Encode(f); err != nil {
			return err
		}
		if lines.Len()-start > MaxLine {
			return ErrTooLong
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.to.Write(lines.Bytes())
	return err
}

// data writes a frame of bytes of a stream, which are far fewer than a line holds.
func (w *writer) data(t Type, p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.line = append(append(append(w.line[:0], `{"type":"`...), t...), `","data":"`...)
	w.line = base64.StdEncoding.AppendEncode(w.line, p)
	w.line = append(w.line, "\"}\n"...)
	_, err := w.to.Write(w.line)
	return err
}
