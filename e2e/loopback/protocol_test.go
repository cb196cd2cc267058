//go:build e2e && linux

package loopback_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/e2e/checks"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

func TestVersion1OverLoopback(t *testing.T) {
	checks.Serve(t, "--allow-cid", "1")
	c, err := client.DialProtocol(t.Context(), target, client.Protocol1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	input := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	cat := c.CommandContext(t.Context(), "cat")
	cat.Stdin = bytes.NewReader(input)
	if out, err := cat.Output(); err != nil || !bytes.Equal(out, input) {
		t.Errorf("%d bytes of %d, %v", len(out), len(input), err)
	}
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			out, err := c.CommandContext(t.Context(), "sh", "-c", fmt.Sprintf("echo %d; exit 3", i)).Output()
			exit, ok := errors.AsType[*client.ExitError](err)
			if !ok || exit.ExitCode() != 3 || string(out) != fmt.Sprintln(i) {
				t.Errorf("command %d: %q, %v", i, out, err)
			}
		})
	}
	all.Wait()
}

// A vsock that is closed says so behind what has been sent over it.
func TestVersion1HostThatHangsUpBehindUnreadInputEndsItsCommand(t *testing.T) {
	agent := checks.Serve(t, "--allow-cid", "1")
	where, err := transport.ParseTarget(target)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := transport.Dial(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, `{"type":"exec","argv":["sleep","1000"]}`+"\n"); err != nil {
		t.Error(err)
	}
	line := `{"type":"stdin","data":"` + strings.Repeat("AAAA", 10_000) + `"}` + "\n"
	for err == nil {
		_ = conn.SetWriteDeadline(time.Now().Add(3 * time.Second)) // by when nothing more is taken
		_, err = io.WriteString(conn, line)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	_ = conn.Close()
	checks.Eventually(t, "the command's end", func() bool { return strings.Contains(agent.Log.String(), `"message":"exec ended"`) })
}
