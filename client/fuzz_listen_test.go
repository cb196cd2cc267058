//go:build linux

package client_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// FuzzGuestListener: whatever a guest says of a listener and its connections, no call hangs
// and nothing stays behind.
func FuzzGuestListener(f *testing.F) {
	for _, seed := range []string{
		"s\x01s\x02w\x02c\x02v\x02", // it listens, and a connection with an end
		"s\x01s\x02s\x03x\x02e\x03", // two that break
		"e\x01", "v\x01", "s\x01s\x01", "s\x02s\x01",
		"s\x01e\x02e\x03e\x04e\x05e\x06e\x07e\x08e\x09", // no accept is answered
		"s\x01e\x01", "s\x01v\x01s\x02", // the listener fails; it ends
		"s\x01s\x02q", "b", "g\x05\x00\x00\x00\x01\xc1",
	} {
		f.Add([]byte(seed))
	}
	a := agenttest.NewAuditor()
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 256 {
			t.Skip()
		}
		c, g := mute(t)
		g.offend(&wire.Hello{Min: 2, Max: 2, Features: []string{wire.FeatureListen}})
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { // ends by cancel, or the end of the connection
			l, err := c.ListenGuest(ctx, "tcp", "localhost:0")
			if err == nil {
				defer context.AfterFunc(ctx, func() { _ = l.Close() })()
				err = readAll(l)
				_ = l.Close()
			}
			served <- err
		}()
		playListener(g, input)
		cancel()
		agenttest.Within(t, "the end of a listener that is closed", func() { <-served })
		agenttest.Within(t, "Close", func() { _ = c.Close() })
		_ = g.mux.Close()
		a.Audit(t)
	})
}

// readAll reads what comes through a listener until that ends.
func readAll(l net.Listener) error {
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		_ = nc.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, _ = io.Copy(io.Discard, nc)
		_ = nc.Close()
	}
}

// playListener has the guest do as a script says. The listen is request 1, and the accepts
// are those after it. Their streams are 3, 5, and so on.
func playListener(g *guest, script agenttest.Script) {
	for len(script) > 0 {
		op := script.Next()
		head := wire.Head{ID: uint64(script.Next() % 12)}
		stream, err := g.mux.Take(uint32(2*head.ID) - 1)
		switch {
		case op == 's':
			g.offend(&wire.Started{Head: head, Address: "127.0.0.1:80"})
		case op == 'e':
			g.offend(&wire.Error{Head: head, Kind: wire.NotFound, Message: "no"})
		case op == 'v':
			g.offend(&wire.Done{Head: head})
		case op == 'b':
			g.offend(&wire.Error{Kind: wire.ShuttingDown, Message: "bye"})
		case op == 'g':
			_, _ = g.control.Write(script.Take(int(head.ID)))
		case op == 'q':
			_ = g.mux.Close()
		case stream == nil || err != nil:
		case op == 'w':
			_, _ = stream.Write(make([]byte, 100))
		case op == 'c':
			_ = stream.Close()
		case op == 'x':
			stream.Reset()
		}
	}
}
