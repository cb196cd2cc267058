//go:build linux

package v1_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/v1"
)

// FuzzAgentBytes: whatever an agent sends, a command ends. It succeeds only if the
// agent has said that it exited with code 0; otherwise its error is a documented one.
func FuzzAgentBytes(f *testing.F) {
	for _, tr := range readTranscripts(f) {
		says := strings.Join(tr.agent, "")
		f.Add([]byte(says))
		f.Add([]byte(says[:len(says)/2]))
		f.Add([]byte(says + says))
	}
	f.Add([]byte(`{"type":"started","pid":0}` + "\n")) // a violation of the protocol
	f.Fuzz(func(t *testing.T, says []byte) {
		near, far := net.Pipe()
		answered := make(chan struct{})
		go func() { // ends with the connection
			defer close(answered)
			go func() { _, _ = io.Copy(io.Discard, far) }() // likewise
			_, _ = far.Write(says)
			_ = far.Close()
		}()
		ctx, cancel := context.WithTimeout(context.Background(), agenttest.Patience)
		defer cancel()
		var out bytes.Buffer
		code, err := client.Run(ctx, near, []string{"x"}, nil, strings.NewReader("input"), &out, io.Discard)
		<-answered
		switch {
		case ctx.Err() != nil:
			t.Fatal("the command does not end")
		case err == nil:
			exitedWith(t, says, code, out.String())
		case !documented(err):
			t.Fatalf("error %v (%T)", err, err)
		}
	})
}

func documented(err error) bool {
	_, remote := errors.AsType[*client.RemoteError](err)
	_, lost := errors.AsType[*client.LostExitError](err)
	return remote || lost || errors.Is(err, client.ErrLost) || errors.Is(err, client.ErrProtocol)
}

// exitedWith checks that says is a command with that end and output.
func exitedWith(t *testing.T, says []byte, code int, out string) {
	t.Helper()
	var said talk
	lines := v1.NewReader(bytes.NewReader(says), 4096, v1.MaxLine, nil)
	for {
		frame, err := lines.Next()
		if err != nil {
			t.Fatalf("success, and the agent says %+v, %v", said, err)
		}
		said.add(frame)
		if frame.Type != v1.TypeExit {
			continue
		}
		if said.frames[0].Type != v1.TypeStarted || frame.ExitCode != code || string(said.stdout) != out {
			t.Fatalf("code %d, output %q, and the agent says %+v", code, out, said)
		}
		return
	}
}
