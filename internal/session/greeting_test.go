//go:build linux

package session_test

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func TestRefusedPrefaceIsAnsweredByALine(t *testing.T) {
	a := agenttest.Start(t)
	bystander(t, a)
	for name, tc := range map[string]struct{ says, answer string }{
		"version 3":       {`{"type":"cocoon-agent/3"}` + "\n", `unknown protocol \"cocoon-agent/3\"`},
		"not JSON":        {"GET / HTTP/1.1\r\n\r\n", "not a JSON object"},
		"no type":         {"{}\n", "not a JSON object with a type"},
		"too long":        {strings.Repeat("x", wire.MaxPreface+1), "longer than 4096 bytes"},
		"and binary":      {"\x00\x01\x02\n", "not a JSON object"},
		"with more after": {"nonsense\n" + strings.Repeat("y", 1<<16), "not a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			nc := a.Dial(t)
			go func() { _, _ = io.WriteString(nc, tc.says) }()
			line, err := bufio.NewReader(nc).ReadString('\n')
			if err != nil || !strings.HasPrefix(line, `{"type":"error","message":"`) || !strings.Contains(line, tc.answer) {
				t.Errorf("answer %q, error %v", line, err)
			}
		})
	}
}

func TestPrefaceMayComeInPieces(t *testing.T) {
	a := agenttest.Start(t)
	near, far := net.Pipe()
	nc := a.Dial(t)
	go func() { _, _ = io.Copy(&bytewise{nc}, far); _ = nc.Close() }()
	go func() { _, _ = io.Copy(far, nc); _ = far.Close() }()
	if _, err := io.WriteString(near, wire.Preface); err != nil {
		t.Fatal(err)
	}
	m, control, err := mux.Client(near, "")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if hello, err := wire.Read(control); err != nil {
		t.Fatalf("Read of the agent's hello = %+v, %v", hello, err)
	}
}

type bytewise struct{ io.Writer }

func (b *bytewise) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := b.Writer.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestConnectionCutWithinThePrefaceHarmsNobody(t *testing.T) {
	a := agenttest.Start(t)
	bystander(t, a)
	for n := range len(wire.Preface) {
		nc := a.Dial(t)
		_, _ = io.WriteString(nc, wire.Preface[:n])
		_ = nc.Close()
	}
}

func TestInvalidYamuxEndsOnlyItsConnection(t *testing.T) {
	a := agenttest.Start(t)
	bystander(t, a)
	frame := func(version, kind byte, flags uint16, id, length uint32) []byte {
		b := []byte{version, kind}
		b = binary.BigEndian.AppendUint16(b, flags)
		b = binary.BigEndian.AppendUint32(b, id)
		return binary.BigEndian.AppendUint32(b, length)
	}
	noise := make([]byte, 1<<16)
	_, _ = rand.Read(noise)
	noise[0] = 0xff
	const syn = 1
	for name, bytes := range map[string][]byte{
		"random":                 noise,
		"another version":        frame(1, 0, syn, 1, 0),
		"an unknown type":        frame(0, 9, syn, 1, 0),
		"a duplicate stream":     append(frame(0, 1, syn, 1, 0), frame(0, 1, syn, 1, 0)...),
		"data beyond the window": append(frame(0, 1, syn, 1, 0), frame(0, 0, 0, 1, 1<<31)...),
	} {
		t.Run(name, func(t *testing.T) {
			nc := a.Dial(t)
			_, _ = io.WriteString(nc, wire.Preface)
			_, _ = nc.Write(bytes)
			_ = nc.SetReadDeadline(time.Now().Add(agenttest.Patience))
			if _, err := io.Copy(io.Discard, nc); os.IsTimeout(err) {
				t.Error("the connection is still open")
			}
		})
	}
}

func TestFirstMessageMustBeHello(t *testing.T) {
	a := agenttest.Start(t)
	h := silent(t, a)
	h.send(&wire.Ping{Head: wire.Head{ID: 1}})
	wantError(t, h.lose(), 0, wire.BadRequest, "not hello")
}

func TestNoVersionInCommonIsSaid(t *testing.T) {
	a := agenttest.Start(t)
	h := silent(t, a)
	h.send(&wire.Hello{Min: 3, Max: 9})
	wantError(t, h.lose(), 0, wire.Unsupported, "the host speaks versions 3 to 9")
}
