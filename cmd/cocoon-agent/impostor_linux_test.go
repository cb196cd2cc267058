package main

import (
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The peer may not be an agent. Each command reports that, and none waits for ever.
func TestErrorNamesAPeerThatIsNotAnAgent(t *testing.T) {
	for name, impostor := range map[string]struct {
		behave func(net.Conn)
		flags  []string
		want   string
	}{
		"says nothing": {
			behave: func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
			want:   "no answer within 300ms: the VM is paused, or the server is not cocoon-agent",
		},
		"hangs up": {
			behave: func(net.Conn) {},
			want:   "the agent closed the connection before its hello: it does not serve this peer, or it is not cocoon-agent",
		},
		"speaks HTTP": {
			behave: func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") },
			want:   `not a cocoon-agent, it answered "HTTP/1.1 400 Bad Request\r"`,
		},
		"is of another version": {
			behave: func(c net.Conn) { _, _ = io.WriteString(c, `{"type":"error","message":"unknown \u001b[2Jtype"}`+"\n") },
			flags:  []string{"--protocol", "2"}, // else it is taken for one of version 1
			want:   "no common protocol version: unknown \uFFFD[2Jtype",
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			ln, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go func() { // stopped by Close of ln
				for {
					conn, err := ln.Accept()
					if err != nil {
						return
					}
					go func() { // stopped by the program's end
						impostor.behave(conn)
						_ = conn.(*net.UnixConn).CloseWrite()
						_, _ = io.Copy(io.Discard, conn)
						_ = conn.Close()
					}()
				}
			}()
			for _, command := range [][]string{{"ping", "-c", "1"}, {"info"}, {"client"}} {
				args := append(slices.Concat(command, impostor.flags), "--connect-timeout", "300ms", "--target", "unix://"+path)
				status := 1
				if command[0] == "client" {
					args, status = append(args, "--", "true"), 255
				}
				cmd := program(t, args...)
				var stderr strings.Builder
				cmd.Stderr = &stderr
				_ = cmd.Run()
				got := stderr.String()
				if cmd.ProcessState.ExitCode() != status || strings.Count(got, "\n") != 1 ||
					!strings.HasPrefix(got, "cocoon-agent: connect to unix://"+path+": ") || !strings.Contains(got, impostor.want) {
					t.Errorf("%v: status %d, %q", command, cmd.ProcessState.ExitCode(), got)
				}
			}
		})
	}
}
