//go:build linux

package client_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// FuzzExited: whatever a guest says of the start and the end of a command, it has
// succeeded only if that is a success, and has no status of 0 otherwise.
func FuzzExited(f *testing.F) {
	for _, os := range []string{"linux", "windows", ""} {
		f.Add(os, 42, 0, 0, "", "exit", uint64(0), uint64(0))
		f.Add(os, 42, 0, 0, "", "exit", uint64(1), uint64(0))
		f.Add(os, 42, 256, 0, "", "exit", uint64(0), uint64(0))
		f.Add(os, 42, -256, 0, "", "exit", uint64(0), uint64(0))
		f.Add(os, 42, -1, 128, "KILL", "signal", uint64(0), uint64(0))
		f.Add(os, 42, -1, 9, "KILL", "signal", uint64(0), uint64(0))
		f.Add(os, 42, 0, 0, "", "killed", uint64(0), uint64(0))
		f.Add(os, 42, 0, 0, "", "lost", uint64(0), uint64(0))
		f.Add(os, 42, 0, 0, "", "later", uint64(0), uint64(0))
		f.Add(os, -5, 0, 0, "", "exit", uint64(0), uint64(0))
	}
	f.Fuzz(func(t *testing.T, os string, pid, code, number int, signal, reason string, stdout, stderr uint64) {
		pid, code, number = int(int32(pid)), int(int32(code)), int(int32(number)) // what wire lets pass
		near, far := net.Pipe()
		go func() { // ends with the connection
			g, err := newGuest(t, far)
			if err != nil {
				return
			}
			g.offend(&wire.Hello{Min: 2, Max: 2, OS: os})
			m, err := wire.Read(g.in)
			e, ok := m.(*wire.Exec)
			if err != nil || !ok {
				return
			}
			g.offend(&wire.Started{Head: e.Head, PID: pid})
			g.offend(&wire.Exited{
				Head: e.Head, Code: code, SignalNumber: number, Signal: signal,
				Reason: wire.Reason(reason), StdoutBytes: stdout, StderrBytes: stderr,
			})
		}()
		c, err := client.NewClient(context.Background(), near)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		cmd := c.Command("anything")
		cmd.Stdout, cmd.Stderr = new(bytes.Buffer), new(bytes.Buffer) // two streams, and so two counts
		err = cmd.Run()
		success := pid > 0 && code == 0 && number == 0 && signal == "" && reason == "exit" && stdout == 0 && stderr == 0
		if (err == nil) != success {
			t.Errorf("Run = %v, want success: %t", err, success)
		}
		exit, ok := errors.AsType[*client.ExitError](err)
		if !ok {
			return
		}
		ofItself := reason == "exit" || reason == "signal"
		if status := exit.ExitStatus(); status < 0 || status > 255 || status == 0 && ofItself {
			t.Errorf("Run = %v, status %d; want 1 to 255", err, status)
		}
	})
}
