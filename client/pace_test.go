//go:build linux

package client_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

// An oldVM speaks version 1, and answers commands as a test says.
type oldVM struct {
	asked, commands atomic.Int32 // connections of version 2, and of commands
	answer          string       // to a command; empty: it hangs up
}

// dial is a PoolConfig's.
func (v *oldVM) dial(context.Context, string) (net.Conn, error) {
	near, far := net.Pipe()
	go func() { // ends with the connection
		defer far.Close()
		in := bufio.NewReader(far)
		line, err := in.ReadString('\n')
		switch {
		case err != nil:
			return
		case line[:16] == `{"type":"cocoon-`:
			v.asked.Add(1)
			_, _ = io.WriteString(far, `{"type":"error","message":"unknown"}`+"\n")
			return
		}
		v.commands.Add(1)
		go func() { _, _ = io.Copy(io.Discard, in) }() // likewise
		_, _ = io.WriteString(far, v.answer)
	}()
	return near, nil
}

// tries runs commands, one after the other, for a minute, or until there were far too
// many.
func (v *oldVM) tries(t *testing.T) {
	t.Helper()
	p := newPool(t, client.PoolConfig{Dial: v.dial, ProbeAfter: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil && v.commands.Load() < 10*mostDials {
		if c, err := p.Get(ctx, "vm"); err == nil {
			_ = c.CommandContext(ctx, "true").Run()
		}
	}
	_ = p.Close()
}

func TestPoolPacesVersion1CommandsThatAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &oldVM{}
		v.tries(t)
		if n := v.commands.Load(); n < 5 || n > mostDials {
			t.Errorf("%d connections in a minute, want 5 to %d", n, mostDials)
		}
	})
}

func TestPoolDoesNotAskAgainAtEachErrorOfVersion1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &oldVM{answer: `{"type":"error","message":"no"}` + "\n"}
		v.tries(t)
		if n := v.asked.Load(); v.commands.Load() < 10*mostDials || n > 20 {
			t.Errorf("the agent was asked %d times for %d commands, want 20 at most", n, v.commands.Load())
		}
	})
}
