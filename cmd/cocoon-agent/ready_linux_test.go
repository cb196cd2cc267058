package main

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
)

func TestReadinessIsALineAndAnEnd(t *testing.T) {
	ready, theirs := openPipe(t)
	defer ready.Close()
	target := "unix://" + t.TempDir() + "/s"
	agent := program(t, "serve", "--listen", target, "--ready-fd", "3")
	agent.ExtraFiles = []*os.File{theirs}
	start(t, agent)
	_ = theirs.Close()
	if got, err := io.ReadAll(ready); string(got) != "\n" || err != nil {
		t.Errorf("the descriptor reads %q, %v, want a newline", got, err)
	}
	c, err := client.Dial(t.Context(), target) // it listens
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if out, err := c.Command("sh", "-c", "ls /proc/self/fd").Output(); err != nil || strings.Contains(string(out), "4") {
		t.Errorf("a command has the descriptors %q, %v", out, err)
	}
}

// As systemd does when it connects standard error to its journal.
func TestJournalIsToldPriorities(t *testing.T) {
	for _, journal := range []bool{true, false} {
		log, err := os.CreateTemp(t.TempDir(), "log")
		if err != nil {
			t.Fatal(err)
		}
		target := "unix://" + t.TempDir() + "/s"
		agent := program(t, "serve", "--listen", target, "--user", "no-such-user", "--log-level", "debug")
		agent.Stderr = log
		stream := streamOf(log)
		if !journal {
			stream = "1:1"
		}
		agent.Env = append(agent.Env, "JOURNAL_STREAM="+stream)
		start(t, agent)
		eventually(t, "the warning", func() bool {
			text, _ := os.ReadFile(log.Name())
			return strings.Contains(string(text), "--user not found")
		})
		text, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			want := ""
			switch {
			case !journal:
			case strings.Contains(line, `"level":"warn"`):
				want = "<4>"
			case strings.Contains(line, `"level":"info"`):
				want = "<6>"
			case strings.Contains(line, `"level":"debug"`):
				want = "<7>"
			}
			if !strings.HasPrefix(line, want+"{") {
				t.Errorf("journal %v: %s", journal, line)
			}
		}
	}
}
