package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// An agent without the privilege to protect itself from the OOM killer warns when it starts,
// and not for each command.
func TestUnprotectedAgentWarnsOnce(t *testing.T) {
	if score, _ := os.ReadFile("/proc/self/oom_score_adj"); string(score) == "-1000\n" {
		t.Skip("the agent would be protected by what it inherits")
	}
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	target := "unix://" + filepath.Join(dir, "s")
	agent := program(t, "serve", "--listen", target)
	if os.Geteuid() == 0 {
		const uid = 54321
		if err := os.Chown(dir, uid, uid); err != nil {
			t.Fatal(err)
		}
		agent.Path, agent.Dir = "/proc/self/exe", "/" // this program's directory may be closed to others
		agent.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		target += "?uid=54321"
	}
	log, err := agent.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, agent)
	said := make(chan string, 1)
	go func() { // ends with the agent
		text, _ := io.ReadAll(log)
		said <- string(text)
	}()
	eventually(t, "the agent listens", func() bool {
		conn, err := net.Dial("unix", filepath.Join(dir, "s"))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	c := dialed(t, target)
	for range 5 {
		if err := c.Command("true").Run(); err != nil {
			t.Fatal(err)
		}
	}
	_ = agent.Process.Signal(syscall.SIGTERM)
	text := <-said
	if err := agent.Wait(); err != nil {
		t.Errorf("the agent: %v", err)
	}
	if n := strings.Count(text, "cannot set oom_score_adj to -1000"); n != 1 || strings.Count(text, "exec ended") != 5 {
		t.Errorf("%d warnings, want 1; the log:\n%s", n, text)
	}
}
