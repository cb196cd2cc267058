package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
)

// A command reads its input to the end though its agent is upgraded before it has begun to.
func TestUpgradeKeepsInput(t *testing.T) {
	const size = 1_250_000 // a pipe of 1 MiB and the first window have room for it
	u := newUpgradable(t)
	gate := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	c := dialed(t, u.target)
	cmd := c.Command("sh", "-c", "read -r x <"+gate+"; wc -c")
	cmd.Outlive = client.Outlive{Detach: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	err = within(t, "the agent has the input", func() error {
		if _, err := in.Write(make([]byte, size)); err != nil {
			return err
		}
		if err := in.Close(); err != nil {
			return err
		}
		return c.Ping(t.Context()) // comes behind it
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := u.upgrade(t, self(t), false); err != nil {
			t.Fatalf("upgrade: %v\n%s", err, u.Log)
		}
	}
	if err := os.WriteFile(gate, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	out, err := dialed(t, u.target).Attach(t.Context(), cmd.Handle()).Output()
	if got, want := strings.TrimSpace(string(out)), fmt.Sprint(size); err != nil || got != want {
		t.Errorf("the command has read %s bytes, %v, want %s\n%s", got, err, want, u.Log)
	}
}
