package v1

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
)

// Serve serves connections until ln fails, which closing it makes it do.
func Serve(ln net.Listener) error {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		go serve(nc) // ends with the connection
	}
}

func serve(nc net.Conn) {
	defer nc.Close()
	c := newConn(nc)
	request, err := c.read()
	if err != nil {
		return
	}
	code, err := c.run(request)
	if err != nil {
		_ = c.write(&frame{Type: "error", Message: err.Error()})
		return
	}
	_ = c.write(&frame{Type: "exit", ExitCode: code})
}

// run carries out one exec and returns its exit code.
func (c *conn) run(request *frame) (int, error) {
	if request.Type != "exec" || len(request.Argv) == 0 {
		return 0, fmt.Errorf("request %q: want exec", request.Type)
	}
	cmd := exec.Command(request.Argv[0], request.Argv[1:]...)
	cmd.Env = os.Environ()
	for key, value := range request.Env {
		cmd.Env = append(cmd.Env, key+"="+value)
	}
	stdin, stdout, stderr, err := pipes(cmd)
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	if err := c.write(&frame{Type: "started", PID: cmd.Process.Pid}); err != nil {
		_ = cmd.Process.Kill()
	}
	go c.feed(stdin, cmd) // ends with the connection
	var outputs sync.WaitGroup
	outputs.Go(func() { _ = c.send("stdout", stdout) })
	outputs.Go(func() { _ = c.send("stderr", stderr) })
	outputs.Wait()
	_ = cmd.Wait() // the code says enough
	return cmd.ProcessState.ExitCode(), nil
}

func pipes(cmd *exec.Cmd) (stdin io.WriteCloser, stdout, stderr io.Reader, err error) {
	if stdin, err = cmd.StdinPipe(); err != nil {
		return nil, nil, nil, err
	}
	if stdout, err = cmd.StdoutPipe(); err != nil {
		return nil, nil, nil, err
	}
	stderr, err = cmd.StderrPipe()
	return stdin, stdout, stderr, err
}

// feed carries the host's input. A connection that is lost kills the process.
func (c *conn) feed(stdin io.WriteCloser, cmd *exec.Cmd) {
	defer stdin.Close()
	for {
		f, err := c.read()
		switch {
		case err != nil:
			_ = cmd.Process.Kill()
			return
		case f.Type == "stdin":
			_, _ = stdin.Write(f.Data)
		case f.Type == "stdin_close":
			_ = stdin.Close()
		}
	}
}
