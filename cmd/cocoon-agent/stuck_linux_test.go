package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
)

// freezer makes a cgroup of version 1 that keeps processes from being ended by
// SIGKILL, as those are that are stuck in the kernel.
func freezer(t *testing.T) (freeze func(pid int)) {
	t.Helper()
	dir := "/sys/fs/cgroup/freezer/cmd-test-" + strconv.Itoa(os.Getpid())
	_ = os.Mkdir(dir, 0o755)
	state := filepath.Join(dir, "freezer.state")
	set := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(state); err != nil {
		_ = os.Remove(dir)
		t.Skipf("no cgroup v1 freezer to make a process unkillable: %v", err)
	}
	t.Cleanup(func() {
		set(state, "THAWED")
		eventually(t, "the freezer is empty", func() bool { return os.Remove(dir) == nil })
	})
	return func(pid int) {
		set(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid))
		set(state, "FROZEN")
		eventually(t, "it is frozen", func() bool {
			text, _ := os.ReadFile(state)
			return strings.TrimSpace(string(text)) == "FROZEN"
		})
	}
}

func TestProcessThatCannotBeKilledIsReportedLost(t *testing.T) {
	if testing.Short() {
		t.Skip("takes what the agent's patience with two processes takes")
	}
	freeze := freezer(t)
	target, agent := agent(t)
	g := newGuest(t, target, agent)
	var all []*client.Cmd
	for range 2 {
		cmd := g.Command("sleep", "1000")
		if _, err := cmd.StdoutPipe(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		freeze(cmd.PID())
		all = append(all, cmd)
	}
	wantLost := func(cmd *client.Cmd) {
		t.Helper()
		if lost, ok := errors.AsType[*client.LostExitError](cmd.Wait()); !ok || lost.PID != cmd.PID() {
			t.Errorf("got %v, want a lost exit status", lost)
		}
	}
	if err := all[0].Kill(); err != nil {
		t.Fatal(err)
	}
	wantLost(all[0])
	g.recovers(t)
	_ = agent.Process.Signal(syscall.SIGTERM)
	wantLost(all[1])
	if err := agent.Wait(); err != nil {
		t.Errorf("the agent: %v", err)
	}
}
