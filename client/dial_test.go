//go:build linux

package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
)

// listenVMM is a VMM that does with each connection what a test says.
func listenVMM(t *testing.T, serve func(net.Conn)) (target string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "v")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		serving.Wait()
	})
	return "hvsock://" + path
}

func TestDialSaysWhatTheVMMDoes(t *testing.T) {
	read := func(c net.Conn) { _, _ = io.ReadFull(c, make([]byte, len("CONNECT 1024\n"))) }
	for name, vmm := range map[string]struct {
		serve func(net.Conn)
		want  string
	}{
		"hangs up at once":   {func(net.Conn) {}, "the VMM closed the connection: nothing listens on that port in the guest"},
		"hangs up":           {read, "the VMM closed the connection: nothing listens on that port in the guest"},
		"hangs up half-way":  {func(c net.Conn) { read(c); _, _ = io.WriteString(c, "OK 10") }, `the VMM answered "OK 10" and closed the connection`},
		"says something":     {func(c net.Conn) { read(c); _, _ = io.WriteString(c, "ERR no\n") }, `the VMM answered "ERR no" instead of OK`},
		"is the agent's own": {func(c net.Conn) { read(c); _, _ = io.WriteString(c, `{"type":"error"`+strings.Repeat(" ", 100)) }, "use unix:// instead of hvsock://"},
	} {
		t.Run(name, func(t *testing.T) {
			target := listenVMM(t, vmm.serve)
			_, err := client.Dial(patiently(t), target)
			dial, ok := errors.AsType[*client.DialError](err)
			if !ok || dial.Target != target+":1024" || !strings.Contains(err.Error(), vmm.want) {
				t.Errorf("error %v (%T)", err, err)
			}
		})
	}
}

func TestDialObeysItsContextIfTheVMMIsSilent(t *testing.T) {
	for name, part := range map[string]string{"nothing": "", "a part": "OK"} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan struct{})
			target := listenVMM(t, func(c net.Conn) {
				_, _ = io.ReadFull(c, make([]byte, len("CONNECT 1024\n")))
				_, _ = io.WriteString(c, part)
				close(asked)
				_, _ = io.Copy(io.Discard, c) // until it hangs up
			})
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-asked; cancel() }()
			if _, err := client.Dial(ctx, target); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestCommandsRunOverAVMMThatAnswersInPieces(t *testing.T) {
	a := agenttest.Start(t)
	target := listenVMM(t, func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, len("CONNECT 1024\n")))
		agent, err := net.Dial("unix", a.Path)
		if err != nil {
			t.Error(err)
			return
		}
		defer agent.Close()
		for _, b := range []byte("OK 1073741824\n") {
			_, _ = c.Write([]byte{b})
		}
		go func() { _, _ = io.Copy(agent, c); _ = agent.Close() }() // ends with c
		_, _ = io.Copy(c, agent)
	})
	c := connect(t, target)
	if err := c.Ready(patiently(t)); err != nil {
		t.Error(err)
	}
	if out, err := c.Command("echo", "there").Output(); err != nil || string(out) != "there\n" {
		t.Errorf("Output = %q, %v, want %q", out, err, "there\n")
	}
	_ = c.Close()
}

func TestDialWithTakesADialerOfTheCallers(t *testing.T) {
	a := agenttest.Start(t)
	c, err := client.DialWith(t.Context(), func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", a.Path)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Command("true").Run(); err != nil {
		t.Error(err)
	}
	broken := errors.New("no proxy")
	if _, err := client.DialWith(t.Context(), func(context.Context) (net.Conn, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestNewClientClosesConnIfContextHasEnded(t *testing.T) {
	near, far := socketpair(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.NewClient(ctx, near); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	_, _ = io.Copy(io.Discard, far) // ends when near is closed
	_ = far.Close()
}

func TestReadyObeysItsContext(t *testing.T) {
	c, _ := mute(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Ready(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
