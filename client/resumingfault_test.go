//go:build linux

package client_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
)

// A deaf connection still brings what the peer sends, while nothing can be sent any more.
type deaf struct {
	net.Conn
	now *atomic.Bool
}

func (d deaf) Write(p []byte) (int, error) {
	if d.now.Load() {
		return 0, syscall.EPIPE
	}
	return d.Conn.Write(p)
}

// Output comes over a connection that does not take its acknowledgement: the receiving goroutine must not
// wait for its own end.
func TestResumeWhenAcknowledgementFails(t *testing.T) {
	a := agenttest.Start(t)
	var now atomic.Bool
	first := true
	config := soon()
	config.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", a.Path)
		if err == nil && first {
			first = false
			return deaf{conn, &now}, nil
		}
		return conn, err
	}
	gate := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := get(t, newPool(t, config), "vm").CommandContext(patiently(t), "sh", "-c", "read -r x <"+gate+"; seq 20000; exit 7")
	cmd.Outlive = client.Outlive{Resume: true}
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	now.Store(true)
	if err := os.WriteFile(gate, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	wantExit(t, cmd.Wait(), 7)
	if want := numbered(20000); out.String() != want {
		t.Errorf("stdout has %d bytes, want the %d bytes of seq", out.Len(), len(want))
	}
}
