package main

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

// hears returns the next announcement on a listener, and the connection.
func hears(t *testing.T, ln net.Listener) (a announcement, conn net.Conn) {
	t.Helper()
	_ = ln.(*net.UnixListener).SetDeadline(time.Now().Add(patience))
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	line, err := bufio.NewReader(conn).ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &a) != nil {
		t.Fatalf("an announcement of %q, %v", line, err)
	}
	return a, conn
}

func TestServeAnnouncesItselfAndCountsResumes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can reseed")
	}
	dir, err := os.MkdirTemp("", "announce") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ln, err := net.Listen("unix", dir+"/host")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	counter := dir + "/run/resumes"
	count := func() string {
		text, _ := os.ReadFile(counter)
		return strings.TrimSpace(string(text))
	}
	target, _ := agentBy(t, func(cmd *exec.Cmd) *exec.Cmd {
		cmd.Args = append(cmd.Args, "--announce", "unix://"+dir+"/host", "--resume-counter", counter)
		return cmd
	})
	first, conn := hears(t, ln)
	c := dialed(t, target)
	h, err := c.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if first.Type != "cocoon-agent/ready" || first.AgentID != h.AgentID || first.BootID != h.BootID || first.Resumes != 0 || count() != "0" {
		t.Errorf("announced %+v with the counter %q, want the agent %s and 0", first, count(), h.AgentID)
	}
	_ = conn.Close() // as a restore does, or the end of the host's program
	if again, _ := hears(t, ln); again != first {
		t.Errorf("announced again: %+v, want %+v", again, first)
	}
	if _, err := c.ReseedWith(t.Context(), client.ReseedOptions{}); err != nil {
		t.Skipf("reseed: %v", err)
	}
	if resumed, _ := hears(t, ln); resumed.AgentID == first.AgentID || resumed.Resumes != 1 || count() != "1" {
		t.Errorf("announced after a reseed: %+v, with the counter %q, want another agent and 1", resumed, count())
	}
}

func TestAnnounceTakesTheHostAlone(t *testing.T) {
	for url, ok := range map[string]bool{
		"vsock://2:52": true, "vsock://2": true, "unix:///run/host": true,
		"vsock://3:52": false, "hvsock:///run/v": false, "nonsense": false,
	} {
		if _, err := parseAnnounce(url); (err == nil) != ok {
			t.Errorf("parseAnnounce(%q): %v, want ok %t", url, err, ok)
		}
	}
}
