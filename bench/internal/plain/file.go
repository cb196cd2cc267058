package plain

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
)

// fileBuffer is the size of a read and of a write, in bytes.
const fileBuffer = 256 << 10

// TakeFile writes what a connection brings to a file. The path is the first line.
func TakeFile(nc net.Conn) error {
	in := bufio.NewReaderSize(nc, 4096)
	path, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	f, err := os.Create(strings.TrimSuffix(path, "\n"))
	if err != nil {
		return err
	}
	if _, err := io.CopyN(f, in, int64(in.Buffered())); err != nil {
		return errors.Join(err, f.Close())
	}
	err = carry(f, nc, fileBuffer)
	if err = errors.Join(err, f.Close()); err == nil {
		_, err = nc.Write(ended)
	}
	return err
}

// SendFile sends the content of a file, and waits until the other side has written all of it.
func SendFile(nc net.Conn, from io.Reader, path string) error {
	if _, err := fmt.Fprintln(nc, path); err != nil {
		return err
	}
	if err := carry(nc, from, fileBuffer); err != nil {
		return err
	}
	if w, ok := nc.(interface{ CloseWrite() error }); ok {
		if err := w.CloseWrite(); err != nil {
			return err
		}
	}
	if _, err := io.ReadFull(nc, make([]byte, len(ended))); err != nil {
		return fmt.Errorf("the end of the file: %w", err)
	}
	return nil
}
