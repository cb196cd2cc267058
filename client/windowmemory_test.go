//go:build linux

package client_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

// A tiring writer takes so many bytes, and then blocks.
type tiringWriter struct {
	left  int
	tired chan struct{} // closed then
	end   chan struct{} // closed when Write may return
}

func (w *tiringWriter) Write(p []byte) (int, error) {
	before := w.left
	w.left -= len(p)
	if before > 0 && w.left <= 0 {
		close(w.tired)
		<-w.end
	}
	return len(p), nil
}

func TestPoolsWindowMemoryIsTheBound(t *testing.T) {
	for name, test := range map[string]struct{ memory, window int }{
		"default":    {0, 4 << 20},
		"a little":   {4 << 20, 2 << 20}, // with the first windows of control stream and output
		"none":       {-1, 1 << 20},
		"hardly any": {1, 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { windowMemoryIsTheBound(t, test.memory, test.window) })
		})
	}
}

func windowMemoryIsTheBound(t *testing.T, memory, window int) {
	t.Helper()
	const fast = 32 << 20
	w := &tiringWriter{fast, make(chan struct{}), make(chan struct{})}
	taken := make(chan int, 1)
	p, _ := fakePool(t, client.PoolConfig{WindowMemory: memory}, func(_ int, g *guest) {
		g.offend(greeting("b", ""))
		_, stdout := g.exec()
		_, _ = stdout.Write(make([]byte, fast))
		<-w.tired
		stdout.SetWriteDeadline(time.Now().Add(time.Second)) // of the bubble
		n, _ := stdout.Write(make([]byte, 16<<20))
		taken <- n
		<-g.mux.Done()
	})
	cmd := get(t, p, "vm").Command("anything")
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if n := <-taken; n > window || n < window*3/8 {
		t.Errorf("the guest could send %d bytes, want at most %d and not much less", n, window)
	}
	_ = p.Close()
	close(w.end)
	_ = cmd.Wait()
}
