//go:build e2e && linux

package loopback_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
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

// host1 connects as a version-1 host and sends its first lines.
func host1(t *testing.T, says string) net.Conn {
	t.Helper()
	where, err := transport.ParseTarget(target)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := transport.Dial(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, says); err != nil {
		t.Error(err)
	}
	return conn
}

func halfClose(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Error(err)
	}
}

func TestVersion1HostReadsAnEndBehindTheExit(t *testing.T) {
	checks.Serve(t, "--allow-cid", "1")
	for _, closes := range []bool{false, true} {
		conn := host1(t, `{"type":"exec","argv":["sh","-c","cat; sleep 2; echo x"]}`+"\n"+`{"type":"stdin","data":"eA=="}`+"\n")
		if closes {
			halfClose(t, conn)
		} else if _, err := io.WriteString(conn, `{"type":"stdin_close"}`+"\n"); err != nil {
			t.Error(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second)) // less than the agent waits for hosts to close
		said, err := io.ReadAll(conn)
		if err != nil || !strings.HasSuffix(string(said), `"data":"eAo="}`+"\n"+`{"type":"exit"}`+"\n") {
			t.Errorf("half-closed %t: %q, %v", closes, said, err)
		}
	}
}

func TestVersion1HangUpAfterHalfCloseEndsCommand(t *testing.T) {
	agent := checks.Serve(t, "--allow-cid", "1")
	conn := host1(t, `{"type":"exec","argv":["sh","-c","sleep 2; echo x; exec sleep 1000"]}`+"\n")
	halfClose(t, conn)
	in := bufio.NewReader(conn)
	for line := ""; !strings.Contains(line, `"data":"eAo="`); { // which it writes once the agent has looked
		var err error
		if line, err = in.ReadString('\n'); err != nil {
			t.Fatalf("a half-close has ended the command: %v", err)
		}
	}
	_ = conn.Close()
	checks.Eventually(t, "the command's end", func() bool { return strings.Contains(agent.Log.String(), `"message":"exec ended"`) })
}

// A vsock that is closed ends its stream behind the bytes that have been sent over it.
func TestVersion1HangUpBehindInputEndsCommand(t *testing.T) {
	agent := checks.Serve(t, "--allow-cid", "1")
	conn := host1(t, `{"type":"exec","argv":["sleep","1000"]}`+"\n")
	var err error
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
