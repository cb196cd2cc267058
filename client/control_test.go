//go:build linux

package client_test

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// requests about a command.
var requests = map[string]func(*client.Cmd) error{
	"Signal": func(cmd *client.Cmd) error { return cmd.Signal(syscall.SIGTERM) },
	"Resize": func(cmd *client.Cmd) error { return cmd.Resize(24, 80) },
	"Kill":   (*client.Cmd).Kill,
}

// silent starts a command in a guest that says that it has started, and nothing else.
func silent(t *testing.T, ctx context.Context, c *client.Client, set func(*client.Cmd)) *client.Cmd { //nolint:revive // t comes first in tests
	t.Helper()
	cmd := c.CommandContext(ctx, "anything")
	set(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// startOnly says of each exec that it has started, and answers nothing else.
func startOnly(_ int, g *guest) {
	g.offend(greeting("b", ""))
	for {
		m, err := wire.Read(g.in)
		if err != nil {
			return // the connection has ended
		}
		if e, ok := m.(*wire.Exec); ok {
			g.offend(&wire.Started{Head: wire.Head{ID: e.ID}, PID: 42})
		}
	}
}

func TestRequestsAreBoundedOnceTheContextEnds(t *testing.T) {
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			p, _ := fakePool(t, client.PoolConfig{}, startOnly)
			ctx, cancel := context.WithCancel(t.Context())
			cmd := silent(t, ctx, get(t, p, "vm"), func(cmd *client.Cmd) { cmd.WaitDelay = 1 })
			result := make(chan error, 1)
			go func() { result <- request(cmd) }() // ends by WaitDelay
			cancel()
			if err := <-result; !errors.Is(err, client.ErrWaitDelay) {
				t.Errorf("%s = %v, want ErrWaitDelay", name, err)
			}
			if err := request(cmd); !errors.Is(err, client.ErrWaitDelay) || !errors.Is(err, context.Canceled) {
				t.Errorf("%s after the context = %v, want ErrWaitDelay and the context's error", name, err)
			}
			if err := cmd.Wait(); !errors.Is(err, client.ErrWaitDelay) {
				t.Errorf("Wait = %v, want ErrWaitDelay", err)
			}
			if err := request(cmd); !errors.Is(err, client.ErrWaitDelay) {
				t.Errorf("%s after Wait = %v, want ErrWaitDelay", name, err)
			}
			if s := p.Stats(); s.InUse != 0 {
				t.Errorf("%d connections in use after Wait, want 0", s.InUse)
			}
		})
	}
}

func TestKillThatIsNotAnsweredIsBounded(t *testing.T) {
	p, _ := fakePool(t, client.PoolConfig{}, startOnly)
	cmd := silent(t, t.Context(), get(t, p, "vm"), func(cmd *client.Cmd) { cmd.WaitDelay = 1 })
	if err := cmd.Kill(); !errors.Is(err, client.ErrWaitDelay) {
		t.Errorf("Kill = %v, want ErrWaitDelay", err)
	}
	if err := cmd.Wait(); !errors.Is(err, client.ErrWaitDelay) {
		t.Errorf("Wait = %v, want ErrWaitDelay", err)
	}
	if s := p.Stats(); s.InUse != 0 {
		t.Errorf("%d connections in use after Wait, want 0", s.InUse)
	}
}

func TestRequestUnderWayEndsWithWait(t *testing.T) {
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			c, g := hostile(t)
			cmd := c.Command("anything")
			started := make(chan error, 1)
			go func() { started <- cmd.Start() }() // ends by started
			e, _ := g.exec()
			if err := <-started; err != nil {
				t.Fatal(err)
			}
			result := make(chan error, 1)
			go func() { result <- request(cmd) }() // ends with Wait
			g.receive()                            // and does not answer
			g.send(exited(e, 0))
			if err := cmd.Wait(); err != nil {
				t.Errorf("Wait = %v", err)
			}
			err := <-result
			wantKind(t, err, client.NotFound)
			if !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("%s = %v, want os.ErrProcessDone", name, err)
			}
		})
	}
}

func TestPipesEndWithWaitDelay(t *testing.T) {
	for name, write := range map[string]func(io.Writer) error{
		"silent":  func(io.Writer) error { return nil },
		"endless": func(w io.Writer) error { _, err := w.Write(make([]byte, 1<<16)); return err },
	} {
		t.Run(name, func(t *testing.T) {
			c, g := hostile(t)
			ctx, cancel := context.WithCancel(t.Context())
			cmd := c.CommandContext(ctx, "anything")
			cmd.WaitDelay = 1
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			started := make(chan error, 1)
			go func() { started <- cmd.Start() }() // ends by started
			_, out := g.exec()
			if err := <-started; err != nil {
				t.Fatal(err)
			}
			if name == "endless" {
				go func() { // ends with the connection
					for err := error(nil); err == nil; {
						err = write(out)
					}
				}()
			}
			cancel()
			if _, err := io.Copy(io.Discard, stdout); !errors.Is(err, client.ErrWaitDelay) {
				t.Errorf("reading stdout: %v, want ErrWaitDelay", err)
			}
			for err == nil { // the guest reads nothing
				_, err = stdin.Write(make([]byte, 1<<16))
			}
			if !errors.Is(err, client.ErrWaitDelay) {
				t.Errorf("writing stdin: %v, want ErrWaitDelay", err)
			}
			if err := cmd.Wait(); !errors.Is(err, client.ErrWaitDelay) {
				t.Errorf("Wait = %v, want ErrWaitDelay", err)
			}
		})
	}
}

func TestAnswerInsteadOfStartedIsKilled(t *testing.T) {
	for name, answer := range map[string]func(id uint64) wire.Message{
		"done":   func(id uint64) wire.Message { return &wire.Done{Head: wire.Head{ID: id}} },
		"exited": func(id uint64) wire.Message { return &wire.Exited{Head: wire.Head{ID: id}, Reason: wire.ReasonExit} },
	} {
		t.Run(name, func(t *testing.T) {
			c, g := hostile(t)
			result := output(t.Context(), c)
			e := g.receive().(*wire.Exec)
			g.send(answer(e.ID))
			if err := <-result; !errors.Is(err, client.ErrProtocol) {
				t.Errorf("Output = %v, want ErrProtocol", err)
			}
			if k, ok := g.receive().(*wire.Kill); !ok || k.Exec != e.ID {
				t.Errorf("the guest got %+v, want a kill of exec %d", k, e.ID)
			}
		})
	}
}

// A guest may end no stream, of whatever becomes of its command.
func TestStreamsThatAGuestDoesNotEndAreForgotten(t *testing.T) {
	for name, end := range map[string]func(g *guest, e *wire.Exec){
		"exited": func(g *guest, e *wire.Exec) {
			g.offend(&wire.Started{Head: wire.Head{ID: e.ID}, PID: 42})
			g.offend(exited(e, 0))
		},
		"error": func(g *guest, e *wire.Exec) {
			g.offend(&wire.Error{Head: wire.Head{ID: e.ID}, Kind: wire.NotFound})
		},
		"exited without started": func(g *guest, e *wire.Exec) { g.offend(exited(e, 0)) },
		"exited after it was given up": func(g *guest, e *wire.Exec) {
			g.offend(&wire.Started{Head: wire.Head{ID: e.ID}, PID: 42}) // and exited at its kill
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, g := hostile(t)
			go func() { // ends with the connection
				for {
					m, err := wire.Read(g.in)
					if err != nil {
						return
					}
					switch m := m.(type) {
					case *wire.Exec:
						end(g, m)
					case *wire.Kill:
						g.offend(&wire.Exited{Head: wire.Head{ID: m.Exec}, Code: 1, Reason: wire.ReasonExit})
					}
				}
			}()
			for range 50 {
				ctx, cancel := context.WithCancel(t.Context())
				cmd := c.CommandContext(ctx, "anything")
				cmd.Stdout, cmd.Stderr, cmd.WaitDelay = io.Discard, new(discarder), 1
				if name == "exited after it was given up" && cmd.Start() == nil {
					cancel()
					_ = cmd.Wait()
				} else {
					_ = cmd.Run()
				}
				cancel()
			}
			agenttest.Eventually(t, "only the control stream is left", func() bool { return client.NumStreams(c) == 1 })
		})
	}
}

type discarder struct{ n int }

func (d *discarder) Write(p []byte) (int, error) { d.n += len(p); return len(p), nil }

func TestClosedConnIsForgottenIfTheGuestIgnoresIt(t *testing.T) {
	c, g := hostile(t)
	go func() { // ends with the connection
		for {
			m, err := wire.Read(g.in)
			if err != nil {
				return
			}
			_, id := wire.About(m)
			switch m := m.(type) {
			case *wire.Forward:
				g.offend(&wire.Started{Head: wire.Head{ID: id}})
			case *wire.Kill:
				g.offend(&wire.Done{Head: wire.Head{ID: id}})
				g.offend(&wire.Done{Head: wire.Head{ID: m.Exec}})
			}
		}
	}()
	for range 50 {
		conn, err := c.DialGuest(t.Context(), "tcp", "localhost:80")
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	agenttest.Eventually(t, "only the control stream is left", func() bool { return client.NumStreams(c) == 1 })
}

func TestGuestThatLeavesTooMuchUnansweredIsLeft(t *testing.T) {
	c, g := hostile(t)
	go func() { // ends with the connection
		for {
			m, err := wire.Read(g.in)
			if err != nil {
				return
			}
			if e, ok := m.(*wire.Exec); ok {
				g.offend(&wire.Started{Head: wire.Head{ID: e.ID}, PID: 42})
			}
		}
	}()
	for range client.MaxUnanswered + 1 {
		ctx, cancel := context.WithCancel(t.Context())
		cmd := silent(t, ctx, c, func(cmd *client.Cmd) { cmd.Stdout, cmd.WaitDelay = io.Discard, 1 })
		cancel()
		_ = cmd.Wait()
	}
	<-c.Done()
	if err := c.Err(); !errors.Is(err, client.ErrProtocol) {
		t.Errorf("Err = %v, want ErrProtocol", err)
	}
}
