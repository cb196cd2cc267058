package v1

import (
	"errors"
	"fmt"
	"io"
	"net"
)

// A Cmd is one exec on a connection of its own.
type Cmd struct {
	Argv           []string
	Stdin          io.Reader // nil: none
	Stdout, Stderr io.Writer
}

// Start sends the request and waits for started. nc is then the exec's, and Wait closes
// it; if Start fails it is closed already.
func (c *Cmd) Start(nc net.Conn) (*Exec, error) {
	e := &Exec{cmd: c, nc: nc, conn: newConn(nc)}
	request := []*frame{{Type: "exec", Argv: c.Argv}}
	if c.Stdin == nil {
		request = append(request, &frame{Type: "stdin_close"})
	}
	err := e.conn.write(request...)
	if err == nil {
		err = e.started()
	}
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	if c.Stdin != nil {
		go e.feed() // ends with the reader, or the connection
	}
	return e, nil
}

// An Exec is a command that runs.
type Exec struct {
	cmd  *Cmd
	nc   net.Conn
	conn *conn
}

func (e *Exec) started() error {
	f, err := e.conn.read()
	switch {
	case err != nil:
		return err
	case f.Type != "started":
		return fmt.Errorf("%s: %s", f.Type, f.Message)
	default:
		return nil
	}
}

func (e *Exec) feed() {
	if e.conn.send("stdin", e.cmd.Stdin) == nil {
		_ = e.conn.write(&frame{Type: "stdin_close"})
	}
}

// Wait hands output on until the exit, and returns its code.
func (e *Exec) Wait() (int, error) {
	defer e.nc.Close()
	for {
		f, err := e.conn.read()
		if err != nil {
			return 0, err
		}
		switch f.Type {
		case "stdout":
			_, err = e.cmd.Stdout.Write(f.Data)
		case "stderr":
			_, err = e.cmd.Stderr.Write(f.Data)
		case "exit":
			return f.ExitCode, nil
		default:
			err = fmt.Errorf("%s: %s", f.Type, f.Message)
		}
		if err != nil {
			return 0, err
		}
	}
}
