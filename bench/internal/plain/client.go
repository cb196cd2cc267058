package plain

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
)

// readBuffer is the host's, in bytes: more makes no difference on any machine tried.
const readBuffer = 256 << 10

// Output has the command run whose output is counted, and returns the count.
// It closes nc.
func Output(nc net.Conn, r Request) (int64, error) {
	defer nc.Close()
	if err := ask(nc, r); err != nil {
		return 0, err
	}
	return io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{nc}, make([]byte, readBuffer))
}

// Input has the command run that takes what from has, chunk bytes at a time,
// and waits until it has ended. It closes nc.
func Input(nc net.Conn, r Request, from io.Reader, chunk int) error {
	defer nc.Close()
	r.Input = true
	if err := ask(nc, r); err != nil {
		return err
	}
	if err := carry(nc, from, chunk); err != nil {
		return err
	}
	if _, err := io.ReadFull(nc, make([]byte, len(ended))); err != nil {
		return fmt.Errorf("the command's end: %w", err)
	}
	return nil
}

func ask(nc net.Conn, r Request) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = nc.Write(append(line, '\n'))
	return err
}
