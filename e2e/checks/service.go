//go:build linux

package checks

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
)

// service reaches a service in the guest: another agent, on a Unix socket there.
func (a Agent) service(t *testing.T) {
	c := a.Dial(t)
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	inner := c.CommandContext(ctx, "sh", "-c",
		`dir=$(mktemp -d) && echo "$dir/s" >&2 && exec "$0" serve --listen "unix://$dir/s"`, a.Program)
	stderr, err := inner.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := inner.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stderr)
	path, _ := lines.ReadString('\n')
	path = strings.TrimSpace(path)
	for line := ""; !strings.Contains(line, `"listening"`); {
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatalf("the service says %q, %v", line, err)
		}
	}
	read := make(chan struct{})
	go func() { // ends with the service
		defer close(read)
		_, _ = io.Copy(io.Discard, lines)
	}()

	conn, err := c.DialGuest(ctx, "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	through, err := client.NewClient(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, 8<<20)
	_, _ = rand.NewChaCha8([32]byte{'s', 'e', 'r', 'v', 'i', 'c', 'e'}).Read(sent) // never fails
	cat := through.CommandContext(ctx, "cat")
	cat.Stdin = bytes.NewReader(sent)
	if got, err := cat.Output(); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d came back, or others: %v", len(got), len(sent), err)
	}
	_ = through.Close()
	if err := inner.Signal(client.SignalName("TERM")); err != nil {
		t.Error(err)
	}
	<-read // Wait throws away what nobody has read
	if err := inner.Wait(); err != nil {
		t.Errorf("the service: %v", err)
	}
	if err := c.CommandContext(ctx, "rm", "-r", filepath.Dir(path)).Run(); err != nil {
		t.Error(err)
	}
}
