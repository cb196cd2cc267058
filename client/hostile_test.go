//go:build linux

package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A guest is an agent that does what a test tells it to.
type guest struct {
	tb      testing.TB
	net     net.Conn
	mux     *mux.Session
	control *mux.Stream
	in      *bufio.Reader
}

// hostile connects a client to a guest that has said hello.
func hostile(tb testing.TB) (*client.Client, *guest) {
	tb.Helper()
	c, g := mute(tb)
	g.offend(&wire.Hello{Min: 2, Max: 2})
	return c, g
}

// mute connects a client to a guest that has not said anything.
func mute(tb testing.TB) (*client.Client, *guest) {
	tb.Helper()
	near, far := socketpair(tb)
	dialed := make(chan *client.Client)
	go func() {
		c, err := client.NewClient(context.Background(), near)
		if err != nil {
			tb.Error(err)
		}
		dialed <- c
	}()
	g, err := newGuest(tb, far)
	if err != nil {
		tb.Fatal(err)
	}
	c := <-dialed
	tb.Cleanup(func() { _ = c.Close() })
	return c, g
}

// newGuest takes a connection to the point at which the client has said hello.
func newGuest(tb testing.TB, conn net.Conn) (*guest, error) {
	tb.Helper()
	br := bufio.NewReaderSize(conn, wire.MaxPreface)
	if err := wire.ReadPreface(br); err != nil {
		return nil, err
	}
	session := mux.Server(struct {
		io.Reader
		io.WriteCloser
	}{br, conn})
	tb.Cleanup(func() { _ = session.Close() })
	control, err := session.Control(tb.Context())
	if err != nil {
		return nil, err
	}
	g := &guest{tb: tb, net: conn, mux: session, control: control, in: bufio.NewReader(control)}
	m, err := wire.Read(g.in)
	if err != nil {
		return nil, err
	}
	if _, ok := m.(*wire.Hello); !ok {
		return nil, fmt.Errorf("the client's first message is %T", m)
	}
	return g, nil
}

// socketpair returns two ends of a Unix socket connection.
func socketpair(tb testing.TB) (near, far net.Conn) {
	tb.Helper()
	ln, err := net.Listen("unix", tb.TempDir()+"/s")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	if near, err = net.Dial("unix", ln.Addr().String()); err != nil {
		tb.Fatal(err)
	}
	if far, err = ln.Accept(); err != nil {
		tb.Fatal(err)
	}
	return near, far
}

// offend sends what a client hangs up at, perhaps before send would return.
func (g *guest) offend(m wire.Message) { _ = wire.Write(g.control, m) }

func (g *guest) send(m wire.Message) {
	g.tb.Helper()
	if err := wire.Write(g.control, m); err != nil {
		g.tb.Errorf("guest: %v", err)
	}
}

func (g *guest) receive() wire.Message {
	g.tb.Helper()
	m, err := wire.Read(g.in)
	if err != nil {
		g.tb.Errorf("guest: %v", err)
	}
	return m
}

// exec takes the next exec and says that it has started. Its stdout is returned.
func (g *guest) exec() (*wire.Exec, *mux.Stream) {
	g.tb.Helper()
	e, ok := g.receive().(*wire.Exec)
	if !ok {
		g.tb.Fatal("guest: not an exec")
	}
	g.send(&wire.Started{Head: wire.Head{ID: e.ID}, PID: 42, Handle: make([]byte, 16)})
	var stdout *mux.Stream
	if e.Stdout != 0 {
		var err error
		if stdout, err = g.mux.Claim(e.Stdout); err != nil {
			g.tb.Fatal(err)
		}
	}
	return e, stdout
}

func exited(e *wire.Exec, stdout uint64) *wire.Exited {
	return &wire.Exited{Head: wire.Head{ID: e.ID}, Reason: wire.ReasonExit, StdoutBytes: stdout}
}

// output runs a command in the background.
func output(ctx context.Context, c *client.Client) <-chan error {
	result := make(chan error, 1)
	go func() {
		_, err := c.CommandContext(ctx, "anything").Output()
		result <- err
	}()
	return result
}

func TestEOFWithoutAnExitIsNotSuccess(t *testing.T) {
	c, g := hostile(t)
	result := output(t.Context(), c)
	_, stdout := g.exec()
	_, _ = io.WriteString(stdout, "all of it, it seems")
	_ = stdout.Close()
	_ = g.mux.Close()
	err := <-result
	lost, ok := errors.AsType[*client.LostExitError](err)
	if !ok || lost.PID != 42 || !errors.Is(err, client.ErrLost) {
		t.Fatalf("error %v (%T)", err, err)
	}
}

func TestFewerBytesThanTheAgentSentIsTruncation(t *testing.T) {
	c, g := hostile(t)
	result := output(t.Context(), c)
	e, stdout := g.exec()
	_, _ = io.WriteString(stdout, "1234")
	_ = stdout.Close()
	g.send(exited(e, 5))
	err := <-result
	cut, ok := errors.AsType[*client.TruncatedError](err)
	if !ok || cut.Got != 4 || cut.Sent != 5 || cut.Stream != "stdout" || !errors.Is(err, client.ErrLost) {
		t.Fatalf("error %v (%T)", err, err)
	}
}

func TestCompleteExitCountsAfterTheConnectionEnds(t *testing.T) {
	c, g := hostile(t)
	result := output(t.Context(), c)
	e, stdout := g.exec()
	_, _ = io.WriteString(stdout, "1234")
	_ = stdout.Close()
	g.send(exited(e, 4))
	_ = g.mux.Close()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

func TestMoreBytesThanTheAgentSentIsItsFault(t *testing.T) {
	c, g := hostile(t)
	result := output(t.Context(), c)
	e, stdout := g.exec()
	_, _ = io.WriteString(stdout, "123456")
	_ = stdout.Close()
	g.send(exited(e, 5))
	if err := <-result; !errors.Is(err, client.ErrProtocol) {
		t.Fatalf("error %v", err)
	}
}

func TestExecWithoutAnAnswerMayHaveStarted(t *testing.T) {
	c, g := hostile(t)
	result := output(t.Context(), c)
	g.receive()
	_ = g.mux.Close()
	err := <-result
	if _, ok := errors.AsType[*client.MaybeStartedError](err); !ok || !errors.Is(err, client.ErrLost) {
		t.Fatalf("error %v (%T)", err, err)
	}
}

func TestCancelledStartMayHaveStartedAndIsKilled(t *testing.T) {
	c, g := hostile(t)
	ctx, cancel := context.WithCancel(t.Context())
	result := output(ctx, c)
	e := g.receive().(*wire.Exec)
	cancel()
	err := <-result
	if _, ok := errors.AsType[*client.MaybeStartedError](err); !ok || !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v (%T)", err, err)
	}
	if k, ok := g.receive().(*wire.Kill); !ok || k.Exec != e.ID {
		t.Errorf("the guest got %+v", k)
	}
}

func TestWaitGivesUpOnAnAgentThatDoesNotObeyKill(t *testing.T) {
	c, g := hostile(t)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := c.CommandContext(ctx, "anything")
	cmd.Stdout, cmd.WaitDelay = io.Discard, 1
	started := make(chan error)
	go func() { started <- cmd.Start() }()
	g.exec()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	cancel()
	err := cmd.Wait()
	if _, ok := errors.AsType[*client.LostExitError](err); !ok || !errors.Is(err, client.ErrWaitDelay) || !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v (%T)", err, err)
	}
}

func TestLostExitStatusIsAnError(t *testing.T) {
	c, g := hostile(t)
	result := output(t.Context(), c)
	e, stdout := g.exec()
	_ = stdout.Close()
	x := exited(e, 0)
	x.Reason = wire.ReasonLost
	g.send(x)
	err := <-result
	if _, ok := errors.AsType[*client.LostExitError](err); !ok {
		t.Fatalf("error %v (%T)", err, err)
	}
}

func TestProtocolViolationEndsTheConnection(t *testing.T) {
	for name, misbehave := range map[string]func(g *guest, e *wire.Exec){
		"an endless row of events": func(g *guest, e *wire.Exec) {
			for range 10 {
				g.offend(&wire.Started{Head: wire.Head{ID: e.ID}, PID: 1})
			}
		},
		"a message for agents": func(g *guest, e *wire.Exec) {
			g.offend(&wire.Kill{Head: wire.Head{ID: 1}, Exec: 1})
		},
		"a second hello": func(g *guest, e *wire.Exec) { g.offend(&wire.Hello{Min: 2, Max: 2}) },
		"bytes that are no message": func(g *guest, e *wire.Exec) {
			_, _ = g.control.Write([]byte{0, 0, 0, 1, 0xc1})
		},
		"a length beyond all measure": func(g *guest, e *wire.Exec) {
			_, _ = g.control.Write([]byte{0xff, 0xff, 0xff, 0xff})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, g := hostile(t)
			result := output(t.Context(), c)
			e, ok := g.receive().(*wire.Exec)
			if !ok {
				t.Fatal("not an exec")
			}
			misbehave(g, e)
			if err := <-result; !errors.Is(err, client.ErrLost) && !errors.Is(err, client.ErrProtocol) {
				t.Errorf("error %v (%T)", err, err)
			}
			<-c.Done()
			if c.Err() == nil {
				t.Error("no error from Err")
			}
		})
	}
}

func TestFirstMessageMustBeHello(t *testing.T) {
	c, g := mute(t)
	g.offend(&wire.Done{Head: wire.Head{ID: 1}})
	<-c.Done()
	if err := c.Err(); !errors.Is(err, client.ErrProtocol) {
		t.Fatalf("error %v", err)
	}
}

func TestNoCommonVersionIsNotSpoken(t *testing.T) {
	c, g := mute(t)
	g.offend(&wire.Hello{Min: 3, Max: 4})
	_, err := c.Command("true").Output()
	if !errors.Is(err, client.ErrNotSpoken) || !strings.Contains(err.Error(), "3 to 4") {
		t.Fatalf("error %v", err)
	}
}

func TestGoodbyeIsTheErrorOfLaterCalls(t *testing.T) {
	c, g := hostile(t)
	g.offend(&wire.Error{Kind: wire.ShuttingDown, Message: "going down"})
	<-c.Done()
	err := c.Ping(patiently(t))
	if !errors.Is(err, client.ErrLost) || !strings.Contains(err.Error(), "going down") {
		t.Fatalf("error %v", err)
	}
	wantKind(t, err, client.ShuttingDown)
}

// An agent that says that it shuts down has answered each exec that it has begun. Other reasons, and
// a connection that breaks off, leave it open.
func TestGoodbyeTellsWhetherExecHasBegun(t *testing.T) {
	for _, test := range []struct {
		kind  wire.ErrorKind // empty: no goodbye
		maybe bool
	}{{wire.ShuttingDown, false}, {wire.Limit, true}, {wire.BadRequest, true}, {"", true}} {
		c, g := hostile(t)
		result := output(t.Context(), c)
		if _, ok := g.receive().(*wire.Exec); !ok {
			t.Fatal("the host asks for something else than an exec")
		}
		if test.kind != "" {
			g.offend(&wire.Error{Kind: test.kind, Message: "going down"})
		} else {
			_ = g.mux.Close()
		}
		err := <-result
		if _, maybe := errors.AsType[*client.MaybeStartedError](err); err == nil || maybe != test.maybe || !errors.Is(err, client.ErrLost) {
			t.Errorf("after a goodbye of kind %q: %v, want that it may have started: %t", test.kind, err, test.maybe)
		}
	}
}

func TestUnknownMessagesAndStrayEventsAreIgnored(t *testing.T) {
	c, g := hostile(t)
	g.send(&wire.Exited{Head: wire.Head{ID: 4711}})
	_, _ = g.control.Write([]byte("\x00\x00\x00\x0c\x81\xa4type\xa5later"))
	result := output(t.Context(), c)
	e, stdout := g.exec()
	_ = stdout.Close()
	g.send(exited(e, 0))
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

func TestErrorOfAnUnknownKindIsInternal(t *testing.T) {
	c, g := hostile(t)
	result := output(t.Context(), c)
	e := g.receive().(*wire.Exec)
	g.send(&wire.Error{Head: wire.Head{ID: e.ID}, Kind: "new_kind", Message: "no"})
	wantKind(t, <-result, client.Internal)
}

func TestAgentMayNotOpenStreams(t *testing.T) {
	_, g := hostile(t)
	if s, err := g.mux.Open(); err == nil {
		_, err = s.Read(make([]byte, 1))
		t.Fatalf("the agent has opened stream %d; reading it: %v", s.ID(), err)
	}
}

func TestOldAgentsAnswerIsTheError(t *testing.T) {
	near, far := socketpair(t)
	go func() { // ends with its write
		_, _ = bufio.NewReader(far).ReadString('\n')
		_, _ = far.Write(wire.AppendRefusal(nil, "", "unknown frame type"))
		_ = far.Close()
	}()
	c, err := client.NewClient(t.Context(), near)
	if err == nil {
		defer c.Close()
		err = c.Command("true").Run()
	}
	if !errors.Is(err, client.ErrNotSpoken) || !strings.Contains(err.Error(), "unknown frame type") {
		t.Fatalf("error %v", err)
	}
	if _, ok := errors.AsType[*client.MaybeStartedError](err); ok {
		t.Error("the command is said to have maybe started, which it cannot have")
	}
}

func TestRefusalOfAPeerIsPrintableAndShort(t *testing.T) {
	near, far := socketpair(t)
	go func() { // ends with its write
		_, _ = bufio.NewReader(far).ReadString('\n')
		_, _ = io.WriteString(far, `{"type":"error","message":"\u001b[31mno\n\u202eforged`+strings.Repeat("x", 3000)+`"}`+"\n")
		_ = far.Close()
	}()
	c, err := client.NewClient(t.Context(), near)
	if err == nil {
		defer c.Close()
		err = c.Ping(patiently(t))
	}
	if !errors.Is(err, client.ErrNotSpoken) || strings.ContainsAny(err.Error(), "\x1b\n\u202e") || len(err.Error()) > 5<<10 {
		t.Errorf("Ping = %.100q", err)
	}
}

func TestAgentThatHangsUpAtOnceIsExplained(t *testing.T) {
	for name, hangUp := range map[string]func(far net.Conn){
		"before a byte is read": func(far net.Conn) { _ = far.Close() },
		"with bytes unread": func(far net.Conn) {
			_, _ = far.Read(make([]byte, 1))
			_ = far.Close()
		},
		"when all is read": func(far net.Conn) {
			_ = far.(*net.UnixConn).CloseWrite()
			_, _ = io.Copy(io.Discard, far)
		},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := socketpair(t)
			go hangUp(far) // ends with the connection
			c, err := client.NewClient(t.Context(), near)
			if err == nil {
				defer c.Close()
				err = c.Ping(patiently(t))
			}
			if !errors.Is(err, client.ErrLost) || !strings.Contains(err.Error(), "before its hello") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestCallsAfterCloseSayClosed(t *testing.T) {
	a := agenttest.Start(t)
	c := connect(t, a.Target)
	if err := c.Ping(patiently(t)); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Close(), c.Close()
	for name, err := range map[string]error{
		"ping": c.Ping(patiently(t)), "run": c.Command("true").Run(), "err": c.Err(),
	} {
		if !errors.Is(err, client.ErrClosed) || !errors.Is(err, client.ErrLost) {
			t.Errorf("%s after Close = %v, want %v and %v", name, err, client.ErrClosed, client.ErrLost)
		}
	}
}

func TestSilentAgentIsLeftWhenTheContextEnds(t *testing.T) {
	c, _ := mute(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Ping(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
}

func TestTextOfAGuestDoesNothingToATerminal(t *testing.T) {
	c, g := hostile(t)
	go func() {
		m, err := wire.Read(g.in)
		if err != nil {
			t.Error(err)
			return
		}
		text := "no\x1b]0;owned\a\r\nsuch\xffthing" + strings.Repeat("\x00", 1<<20)
		g.offend(&wire.Error{Head: wire.Head{ID: m.(*wire.Ping).ID}, Kind: wire.NotFound, Message: text})
	}()
	err := c.Ping(t.Context())
	wantKind(t, err, client.NotFound)
	text := err.Error()
	const want = "no\uFFFD]0;owned\uFFFD\uFFFD\uFFFDsuch\uFFFDthing"
	if !strings.HasPrefix(text, want) || len(text) > 16<<10 {
		t.Errorf("%d bytes, beginning with %.60q, want %q", len(text), text, want)
	}
}
