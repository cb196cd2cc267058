// Package plain copies between a pipe of a command and a socket, with no
// protocol: what is left of an agent when everything is taken away but the
// bytes. It has no exit status, no second stream and no second command.
package plain

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// A Request is the one line that a connection begins with.
type Request struct {
	Argv   []string `json:"argv"`
	Input  bool     `json:"input"`  // the bytes go to the command, not from it
	Bytes  int64    `json:"bytes"`  // with Input: how many
	Pipe   int      `json:"pipe"`   // size of the pipe, in bytes
	Buffer int      `json:"buffer"` // size of a read, in bytes
}

// ended is what tells the host that a command which takes input has ended.
var ended = []byte{0}

// Run runs the command that a connection asks for.
func Run(nc net.Conn) error {
	in := bufio.NewReaderSize(nc, 4096)
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	var r Request
	if err := json.Unmarshal(line, &r); err != nil {
		return err
	}
	ours, theirs, err := openPipe(r)
	if err != nil {
		return err
	}
	p, err := start(r, theirs)
	if err != nil {
		return errors.Join(err, ours.Close())
	}
	if r.Input {
		behind, _ := in.Peek(in.Buffered())
		from := io.MultiReader(bytes.NewReader(behind), nc)
		err = carry(ours, io.LimitReader(from, r.Bytes), r.Buffer)
	} else {
		err = carry(nc, ours, r.Buffer)
	}
	_ = ours.Close()
	if _, e := p.Wait(); err == nil {
		err = e
	}
	if err == nil && r.Input {
		_, err = nc.Write(ended)
	}
	return err
}

// start starts the command on its end of the pipe, which it then alone holds.
func start(r Request, end *os.File) (*os.Process, error) {
	defer end.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	files := []*os.File{null, end, os.Stderr}
	if r.Input {
		files = []*os.File{end, null, os.Stderr}
	}
	return os.StartProcess(r.Argv[0], r.Argv, &os.ProcAttr{Files: files})
}

// openPipe makes the pipe and returns this side's end and the command's.
func openPipe(r Request) (ours, theirs *os.File, err error) {
	ours, theirs, err = os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	if r.Input {
		ours, theirs = theirs, ours
	}
	raw, err := ours.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	_ = raw.Control(func(fd uintptr) { _, err = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, r.Pipe) })
	if err != nil {
		return nil, nil, fmt.Errorf("a pipe of %d bytes: %w", r.Pipe, err)
	}
	return ours, theirs, nil
}

// carry is io.Copy without its ways around the buffer, whose size is the contender.
func carry(to io.Writer, from io.Reader, buffer int) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, buffer))
	return err
}
