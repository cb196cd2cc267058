// Package v1 is protocol version 1, as little of it as a comparison needs: one
// connection for each exec, JSON objects, one for each line, with the bytes of
// the streams as base64.
package v1

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// maxFrame is the longest line, in bytes.
const maxFrame = 8 << 20

// chunk is how many bytes of a stream go into one frame: the buffer of io.Copy,
// which is what a plain implementation takes.
const chunk = 32 << 10

// A frame is one line.
type frame struct {
	Type     string            `json:"type"`
	Argv     []string          `json:"argv,omitempty"`
	Env      map[string]string `json:"env,omitempty"`
	Data     []byte            `json:"data,omitempty"` // base64 on the wire
	PID      int               `json:"pid,omitempty"`
	ExitCode int               `json:"exit_code,omitempty"`
	Message  string            `json:"message,omitempty"`
}

// A conn reads and writes frames. Any number of goroutines may write.
type conn struct {
	in  *bufio.Scanner
	mu  sync.Mutex // also held while to is written to: lines do not mix
	to  io.Writer
	out bytes.Buffer
}

func newConn(rw io.ReadWriter) *conn {
	c := &conn{in: bufio.NewScanner(rw), to: rw}
	c.in.Buffer(make([]byte, 64<<10), maxFrame)
	return c
}

func (c *conn) read() (*frame, error) {
	if !c.in.Scan() {
		if err := c.in.Err(); err != nil {
			return nil, err
		}
		return nil, io.EOF
	}
	f := new(frame)
	if err := json.Unmarshal(c.in.Bytes(), f); err != nil {
		return nil, fmt.Errorf("frame: %w", err)
	}
	return f, nil
}

// write writes frames in one call.
func (c *conn) write(frames ...*frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.Reset()
	lines := json.NewEncoder(&c.out)
	for _, f := range frames {
		if err := lines.Encode(f); err != nil {
			return err
		}
	}
	_, err := c.to.Write(c.out.Bytes())
	return err
}

// send writes everything that r has as frames of a type. The error is a
// write's: whatever r's may be, it is its end.
func (c *conn) send(kind string, r io.Reader) error {
	buf := make([]byte, chunk)
	var readErr, err error
	for readErr == nil && err == nil {
		var n int
		n, readErr = r.Read(buf)
		if n > 0 {
			err = c.write(&frame{Type: kind, Data: buf[:n]})
		}
	}
	return err
}
