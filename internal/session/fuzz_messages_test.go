//go:build linux

package session_test

import (
	"bufio"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// FuzzSessionMessages: whatever a host does, in whatever order, each exec is
// answered by the rules, its hanging up ends the session, and nothing stays behind.
func FuzzSessionMessages(f *testing.F) {
	for _, seed := range []string{
		"\x00e\x01\x00\x00",                          // exec true
		"\x00ooo\x00e\x01\x07\x01w\x00\x05c\x00",     // cat, its input, the end of that
		"\x00oe\x01\x02\x02s\x01\x00k\x01\x01",       // sleep, a signal, a kill
		"\x00oe\x01\x12\x02d",                        // sleep that is kept, and the end
		"\x00oe\x01\x42\x01z\x01\x05\x05w\x00\x03",   // cat in a terminal
		"\x00e\x01\x82\x00s\x01\x00k\x01\x00",        // a stream that is not there
		"\x00e\x01\x00\x00e\x01\x00\x00",             // an id twice
		"\x00g\x05\x00\x00\x00\x01\xc1",              // no message
		"\x00y\x02\x01\x00\x07y\x01\x04\x01\x00",     // a ping of yamux's
		"\x01pppp",                                   // answers that nobody reads
		"\x00mmmmmm",                                 // messages for others
		"\x02piru",                                   // no hello
		"\x00of\x00\x00w\x00\x05a\x00c\x00a\x00",     // a forward to an echo, and its end
		"\x00of\x01\x01w\x00\x05k\x09\x00of\x01\x02", // to one that reads nothing, killed; to one that breaks off
		"\x00of\x00\x03of\x01\x04f\x02\x00x\x00d",    // to nobody, out of the guest, without a stream
		"\x00of\x00\x00f\x00\x00",                    // an id twice
		"\x00l\x00\x00oA\x01\x08k\x09\x00k\x08\x00",  // a listen, an accept, and their kills
		"\x00l\x00\x00oA\x01\x08oA\x02\x08d",         // accepts that wait, and the end
		"\x00oA\x01\x08l\x00\x02l\x00\x03l\x00\x00",  // an accept of nothing, listens outside
	} {
		f.Add([]byte(seed))
	}
	a := openArena(f)
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 512 {
			t.Skip()
		}
		m := a.match(t, input)
		p := &player{tb: t, script: input}
		p.play(m)
		m.end(p.kept)
	})
}

// A player is a host that follows a script.
type player struct {
	tb     testing.TB
	script agenttest.Script
	match  *match

	mux     *mux.Session
	control *mux.Stream
	streams []*mux.Stream
	last    uint64 // request id; execs have ids of 0 to 7, forwards of 8 to 15
	kept    bool   // an exec may outlive the session
	garbled bool   // the control stream may have ended, or end within a message
}

// Modes: bits of the first byte.
const (
	controlUnread = 1 << iota
	noHello
)

const (
	firstForward = 8
	lastRequest  = 1 << 40
)

func isForward(id uint64) bool { return id >= firstForward && id < firstForward+8 }

func (p *player) play(m *match) {
	p.match = m
	mode := p.script.Next()
	var err error
	if p.mux, p.control, err = mux.Client(m.host, wire.Preface); err != nil {
		p.tb.Fatal(err)
	}
	defer p.mux.Close()
	answered := make(chan error, 1)
	if mode&controlUnread == 0 {
		go func() { answered <- p.referee() }() // ends with the session
	}
	if mode&noHello == 0 {
		p.send(&wire.Hello{Min: 2, Max: 2})
	}
	for len(p.script) > 0 {
		if p.script[0] == 'd' {
			return
		}
		p.step(p.script.Next())
	}
	p.send(&wire.Ping{Head: wire.Head{ID: lastRequest}})
	if mode&controlUnread == 0 && !p.garbled {
		agenttest.Within(p.tb, "an answer, or the end of the session", func() {
			if err := <-answered; err != nil {
				p.tb.Error(err)
			}
		})
	}
}

// send ignores errors: the agent may have left.
func (p *player) send(m wire.Message) { _ = wire.Write(p.control, m) }

// head is for a request other than an exec.
func (p *player) head() wire.Head {
	p.last++
	return wire.Head{ID: 1<<32 + p.last}
}

func (p *player) step(op byte) {
	switch s := &p.script; op {
	case 'o':
		if stream, err := p.mux.Open(); err == nil && len(p.streams) < 64 {
			p.streams = append(p.streams, stream)
		}
	case 'e':
		p.send(p.exec())
	case 'f':
		p.send(p.forward())
	case 'l':
		p.send(&wire.Listen{Head: wire.Head{ID: firstForward + uint64(s.Next()%8)}, Network: "tcp", Address: []string{"localhost:0", "[::1]:0", "10.0.0.1:0", ""}[s.Next()%4]})
	case 'A':
		p.send(p.accept())
	case 's':
		names := []string{"TERM", "9", "SIGHUP", "NOSUCH", "0", "STOP", "CONT", "-1"}
		p.send(&wire.Signal{Head: p.head(), Exec: uint64(s.Next() % 16), Signal: names[s.Next()%8]})
	case 'k':
		p.send(&wire.Kill{Head: p.head(), Exec: uint64(s.Next() % 16), Force: s.Next()%2 == 1})
	case 'z':
		p.send(&wire.Resize{Head: p.head(), Exec: uint64(s.Next() % 16), Rows: uint16(s.Next()), Cols: uint16(s.Next())})
	case 'p':
		p.send(&wire.Ping{Head: p.head()})
	case 'i':
		p.send(&wire.Info{Head: p.head()})
	case 'r':
		p.send(&wire.Reseed{Head: p.head(), Entropy: s.Take(int(s.Next() % 16))}) // too short to be credited
	case 'w':
		if stream := p.stream(); stream != nil {
			_, _ = stream.Write(make([]byte, s.Next())) // at most 128 KiB in all: no window is full
		}
	case 'c':
		if stream := p.stream(); stream != nil {
			_ = stream.Close()
		}
	case 'x':
		if stream := p.stream(); stream != nil {
			stream.Discard()
		}
	case 'a':
		if stream := p.stream(); stream != nil {
			stream.SetReadDeadline(time.Unix(1, 0))
			_, _ = stream.Read(make([]byte, 100))
		}
	case 'g':
		p.garbled = true
		_, _ = p.control.Write(s.Take(int(s.Next())))
	case 'q':
		_ = p.control.Close()
	case 'm':
		p.send([]wire.Message{
			&wire.Hello{Min: 2, Max: 2}, &wire.Done{Head: p.head()}, &wire.Error{}, &wire.Ping{},
			&wire.Started{Head: p.head()}, &wire.Exited{Head: p.head()},
		}[s.Next()%6])
	case 'y':
		p.garbled = true
		_ = p.match.host.SetWriteDeadline(time.Now().Add(agenttest.Patience))
		_, _ = p.match.host.Write(p.script.Frame()) // between two of ours
		_ = p.match.host.SetWriteDeadline(time.Time{})
	}
}

func (p *player) stream() *mux.Stream {
	n := int(p.script.Next())
	if len(p.streams) == 0 {
		return nil
	}
	return p.streams[n%len(p.streams)]
}

func (p *player) exec() *wire.Exec {
	e := &wire.Exec{Head: wire.Head{ID: uint64(p.script.Next() % 8)}}
	how := p.script.Next()
	for bit, id := range []*uint32{&e.Stdin, &e.Stdout, &e.Stderr} {
		if stream := p.newest(bit); how&(1<<bit) != 0 && stream != nil {
			*id = stream.ID()
		}
	}
	if how&8 != 0 {
		e.Stderr = e.Stdout
	}
	if how&16 != 0 {
		e.OnDisconnect = wire.DisconnectKeep
		p.kept = true
	}
	if how&32 != 0 {
		e.TimeoutMS = 1
	}
	if how&64 != 0 {
		e.TTY = &wire.TTY{Rows: 3, Cols: 3}
	}
	if how&128 != 0 {
		e.Stdout = 9999
	}
	e.Argv = [][]string{{"true"}, {"cat"}, {"sleep", "1000"}, {"nosuch"}, {}, {"true", "\x00"}, {"cat", "nosuch"}, {""}}[p.script.Next()%8]
	return e
}

func (p *player) forward() *wire.Forward {
	f := &wire.Forward{Head: wire.Head{ID: firstForward + uint64(p.script.Next()%8)}, Network: "tcp"}
	if stream := p.newest(0); stream != nil {
		f.Stream = stream.ID()
	}
	addresses := p.match.arena.services
	f.Address = addresses[int(p.script.Next())%len(addresses)]
	return f
}

func (p *player) accept() *wire.Accept {
	a := &wire.Accept{Head: wire.Head{ID: firstForward + uint64(p.script.Next()%8)}, Listener: uint64(p.script.Next() % 16)}
	if stream := p.newest(0); stream != nil {
		a.Stream = stream.ID()
	}
	return a
}

// newest is the stream opened n before the latest.
func (p *player) newest(n int) *mux.Stream {
	if n >= len(p.streams) {
		return nil
	}
	return p.streams[len(p.streams)-1-n]
}

// referee reads the agent's messages until the last request is answered, or the
// session ends. It returns what rule the agent has broken.
func (p *player) referee() error {
	in := bufio.NewReader(p.control)
	started := make(map[uint64]bool)
	for n := 0; ; n++ {
		m, err := wire.Read(in)
		if errors.Is(err, wire.ErrMalformed) || errors.Is(err, wire.ErrMessageTooLong) {
			return err
		}
		if err != nil {
			return nil //nolint:nilerr // the session has ended, or the control stream
		}
		_, isHello := m.(*wire.Hello)
		if isHello != (n == 0) {
			return errors.New("hello is not the first message, and that alone")
		}
		switch m := m.(type) {
		case *wire.Started:
			if started[m.ID] || isForward(m.ID) != (m.PID <= 0) || isForward(m.ID) != (len(m.Handle) != 16) {
				return errors.New("started twice, or nonsense")
			}
			started[m.ID] = true
		case *wire.Exited:
			if !started[m.ID] {
				return errors.New("exited without started")
			}
			delete(started, m.ID)
		case *wire.Error:
			if started[m.ID] && !isForward(m.ID) {
				return errors.New("error for an exec that has started")
			}
			delete(started, m.ID)
			if m.ID == lastRequest {
				return os.ErrInvalid
			}
			if m.ID == 0 {
				return nil // its goodbye
			}
		case *wire.Done:
			if m.ID == lastRequest {
				return nil
			}
			if isForward(m.ID) && !started[m.ID] {
				return errors.New("done for a forward that has not started")
			}
			delete(started, m.ID)
		case *wire.Hello:
		default:
			return errors.New("not an agent's message")
		}
	}
}
