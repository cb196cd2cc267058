//go:build linux

package session_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// How FuzzSessionBytes plays its bytes.
const (
	asTheyAre     = 1 << iota // without the preface, which else comes before them
	readingNot                // the host never reads
	inSingleBytes             // in writes of one byte
)

// FuzzSessionBytes: a host that says any bytes at all is answered or left, its
// hanging up ends the session, and nothing stays behind.
func FuzzSessionBytes(f *testing.F) {
	for _, seed := range recordedSessions(f) {
		f.Add(byte(0), seed)
		f.Add(byte(inSingleBytes), seed)
		f.Add(byte(readingNot), seed)
		f.Add(byte(asTheyAre), append([]byte(wire.Preface), seed...))
	}
	for _, version1 := range []string{
		`{"type":"exec","argv":["true"]}` + "\n",
		`{"type":"exec","argv":["cat"],"env":{"A":"b"}}` + "\n" + `{"type":"stdin","data":"eAo="}` + "\n" + `{"type":"stdin_close"}` + "\n",
		`{"type":"exec","argv":["sleep","1000"]}` + "\n" + `{"type":"exec"}` + "\n",
		`{"type":"reseed","data":"AAAA","regen_machine_id":true}` + "\n",
	} {
		f.Add(byte(asTheyAre), []byte(version1))
		f.Add(byte(asTheyAre|inSingleBytes), []byte(version1))
		f.Add(byte(asTheyAre|readingNot), []byte(version1))
	}
	f.Add(byte(readingNot), bytes.Repeat([]byte("\x00\x02\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07"), 100)) // pings
	a := openArena(f)
	f.Fuzz(func(t *testing.T, mode byte, input []byte) {
		if len(input) > 16<<10 || bytes.ContainsRune(input, '/') || bytes.Contains(input, []byte(`\u`)) {
			t.Skip() // a slash, which version 1 may have as \u002f, would lead out of the arena
		}
		m := a.match(t, input)
		says := append([]byte(nil), input...)
		if mode&asTheyAre == 0 {
			says = append([]byte(wire.Preface), input...)
		}
		if mode&readingNot != 0 {
			_ = m.host.SetWriteDeadline(time.Now().Add(2 * time.Millisecond)) // it may be held back
			_, _ = m.host.Write(says)
		} else {
			m.play(says, mode&inSingleBytes != 0)
		}
		m.end(bytes.Contains(input, []byte("keep")))
	})
}

// play says the bytes, and waits until the agent has taken them all, or leaves.
func (m *match) play(says []byte, inBytes bool) {
	m.tb.Helper()
	tail, whole := completion(says)
	reacted := make(chan error, 1)
	go func() { reacted <- awaitPong(m.host) }() // ends with the connection
	_ = m.host.SetDeadline(time.Now().Add(agenttest.Patience))
	step := len(says) + 1
	if inBytes {
		step = 1
	}
	for at := 0; at < len(says); at += step {
		if _, err := m.host.Write(says[at:min(at+step, len(says))]); errors.Is(err, os.ErrDeadlineExceeded) {
			m.tb.Fatalf("the agent reads no further than byte %d of %d", at, len(says))
		} else if err != nil {
			return // it has left
		}
	}
	if !whole {
		return
	}
	_, _ = m.host.Write(tail)
	if err := <-reacted; errors.Is(err, os.ErrDeadlineExceeded) {
		m.tb.Fatal("the agent neither answers nor leaves")
	}
}

// completion returns bytes that complete the last frame of says, followed by a ping. It
// returns false if a line or a frame is far from its end.
func completion(says []byte) (tail []byte, ok bool) {
	if bytes.HasPrefix(says, []byte("{")) && !bytes.ContainsRune(says, '\n') {
		return nil, false // a version-1 host's may be long: the agent waits for its end
	}
	r := bufio.NewReaderSize(bytes.NewReader(says), wire.MaxPreface)
	if err := wire.ReadPreface(r); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, false
	}
	var head [12]byte
	for {
		n, err := io.ReadFull(r, head[:])
		if errors.Is(err, io.EOF) {
			return agenttest.LastPing, true
		}
		if err != nil {
			return append(make([]byte, len(head)-n), agenttest.LastPing...), n <= 8 || head[1] != 0 // else its length has begun
		}
		if head[1] != 0 {
			continue
		}
		length := int64(binary.BigEndian.Uint32(head[8:]))
		if n, _ := io.CopyN(io.Discard, r, length); n < length {
			return append(make([]byte, min(length-n, 1<<20)), agenttest.LastPing...), length-n <= 1<<20
		}
	}
}

// awaitPong reads until the last pong or a refusal has come. The error is why
// neither did.
func awaitPong(r io.Reader) error {
	var window []byte
	b := make([]byte, 4096)
	for {
		n, err := r.Read(b)
		window = append(window, b[:n]...)
		if bytes.Contains(window, agenttest.LastPong) || bytes.HasPrefix(window, []byte("{")) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(window) > len(agenttest.LastPong) {
			window = append(window[:0], window[len(window)-len(agenttest.LastPong):]...)
		}
	}
}

// recordedSessions is what hosts say behind the preface.
func recordedSessions(tb testing.TB) [][]byte {
	tb.Helper()
	hello := &wire.Hello{Min: 2, Max: 2}
	head := func(id uint64) wire.Head { return wire.Head{ID: id} }
	var recorded [][]byte
	for _, messages := range [][]wire.Message{
		{hello},
		{hello, &wire.Ping{Head: head(1)}, &wire.Info{Head: head(2)}},
		{hello, &wire.Exec{Head: head(1), Argv: []string{"true"}}},
		{hello, &wire.Exec{Head: head(1), Argv: []string{"cat"}, Stdin: 3, Stdout: 5, Stderr: 7}},
		{hello, &wire.Exec{Head: head(1), Argv: []string{"cat"}, Stdin: 3, Stdout: 5, Stderr: 5, TTY: nil}, &wire.Kill{Head: head(2), Exec: 1, Force: true}},
		{hello, &wire.Exec{Head: head(1), Argv: []string{"cat"}, Stdin: 3, Stdout: 5, TTY: &wire.TTY{Rows: 3, Cols: 4}}, &wire.Resize{Head: head(2), Exec: 1, Rows: 9, Cols: 9}},
		{
			hello, &wire.Exec{Head: head(1), Argv: []string{"cat"}, Stdin: 3, Stdout: 5, TTY: &wire.TTY{WidthPX: 800, HeightPX: 480, Modes: []byte("\x03\x00\x00\x00\x08\x00")}},
			&wire.Resize{Head: head(2), Exec: 1, Rows: 9, Cols: 9, WidthPX: 72, HeightPX: 144},
		},
		{hello, &wire.Exec{Head: head(1), Argv: []string{"sleep", "1000"}, TimeoutMS: 5}, &wire.Signal{Head: head(2), Exec: 1, Signal: "TERM"}},
		{hello, &wire.Exec{Head: head(1), Argv: []string{"sleep", "1000"}, OnDisconnect: wire.DisconnectKeep}},
		{
			hello, &wire.Exec{Head: head(1), Argv: []string{"cat"}, Stdin: 3, Stdout: 5, Keeping: wire.Keeping{Detach: true, Ring: 1, RingFull: wire.RingBlock}},
			&wire.Acked{Head: head(1), StdoutOffset: 9}, &wire.Leave{Head: head(2), Exec: 1}, &wire.Attach{Head: head(3), Handle: make([]byte, 16), Stdout: 7}, &wire.Release{Head: head(4), Handle: make([]byte, 16)},
		},
		{hello, &wire.Exec{Head: head(1), Argv: []string{"true"}, Keeping: wire.Keeping{Key: []byte("k"), AgentID: make([]byte, 16)}}},
		{hello, &wire.Exec{Head: head(1), Argv: []string{"true"}, Stdout: 99}, &wire.Signal{Head: head(2), Exec: 1, Signal: "9"}},
		{hello, &wire.Exec{Head: head(1), Argv: []string{"true"}, Limits: &wire.Limits{PIDs: 3}}},
		{hello, &wire.Reseed{Head: head(1), Entropy: []byte("short")}},
		{&wire.Done{Head: head(1)}},
		{hello, &wire.Error{}, hello},
	} {
		recorded = append(recorded, record(tb, messages))
	}
	return recorded
}

// record returns what a host's side writes that opens the streams 3, 5 and 7,
// says something on 3 and ends that, and sends messages.
func record(tb testing.TB, messages []wire.Message) []byte {
	tb.Helper()
	near, far := net.Pipe()
	var said bytes.Buffer
	copied := make(chan struct{})
	go func() { _, _ = io.Copy(&said, far); close(copied) }() // ends with the connection
	host, control, err := mux.Client(near, "")
	if err != nil {
		tb.Fatal(err)
	}
	var streams [3]*mux.Stream
	for i := range streams {
		if streams[i], err = host.Open(); err != nil {
			tb.Fatal(err)
		}
	}
	_, _ = streams[0].Write([]byte("input"))
	for _, m := range messages {
		if err := wire.Write(control, m); err != nil {
			tb.Fatal(err)
		}
	}
	_ = streams[0].Close()
	_ = host.Close()
	<-copied
	return said.Bytes()
}
