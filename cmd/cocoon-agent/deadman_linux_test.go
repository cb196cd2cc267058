package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// The tests of package deadman show what the thread does.
func TestAgentHasAWatchdogThread(t *testing.T) {
	_, agent := agent(t)
	var threads []string
	all, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/comm", agent.Process.Pid))
	for _, path := range all {
		if comm, _ := os.ReadFile(path); string(comm) == "deadman\n" {
			threads = append(threads, path)
		}
	}
	if len(threads) != 1 {
		t.Errorf("threads that are called deadman: %v, want 1", threads)
	}
	_ = agent.Process.Signal(syscall.SIGTERM)
	if err := agent.Wait(); err != nil {
		t.Errorf("the agent after SIGTERM: %v", err)
	}
}
