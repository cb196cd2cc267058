// Package naive is what a Go program has without this project: net/rpc and os/exec. The
// answer holds all output, and a command takes no input.
package naive

import (
	"bytes"
	"errors"
	"net"
	"net/rpc"
	"os/exec"
	"syscall"
)

// Method runs a [Request], and answers with a [Result].
const Method = "Exec.Run"

// A Request is a command.
type Request struct{ Argv []string }

// A Result is how it ended.
type Result struct {
	Stdout, Stderr []byte
	Code           int
}

type service struct{}

// Run is Method.
func (service) Run(r Request, result *Result) error {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(r.Argv[0], r.Argv[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return err
	}
	*result = Result{stdout.Bytes(), stderr.Bytes(), cmd.ProcessState.ExitCode()}
	return nil
}

// Serve serves connections until ln fails, which closing it makes it do.
func Serve(ln net.Listener) error {
	s := rpc.NewServer()
	if err := s.RegisterName("Exec", service{}); err != nil {
		return err
	}
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		go s.ServeConn(nc) // ends with the connection, which it closes
	}
}
