//go:build e2e && linux

package hybrid_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
)

// resume has a command that outlives its connection write lines, while the device resets all
// connections five times and the agent is upgraded twice.
func (vm *vm) resume(t *testing.T) {
	const lines, stages = 100_000, 7
	var want strings.Builder
	for i := range lines {
		fmt.Fprintln(&want, i+1)
	}
	pool := client.NewPool(client.PoolConfig{})
	defer pool.Close()
	c, err := pool.Get(t.Context(), vm.Target)
	if err != nil {
		t.Fatal(err)
	}
	got := &stagedBuffer{every: want.Len() / (stages + 1), reached: make(chan struct{})}
	cmd := c.Command("sh", "-c", fmt.Sprintf("seq %d; exit 7", lines))
	cmd.Outlive = client.Outlive{Resume: true, Ring: 64 << 10}
	cmd.Stdout = got
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for stage := range stages {
		<-got.reached
		if stage%3 != 2 {
			if err := vm.device.Process.Signal(syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
			continue
		}
		t.Log(vm.upgrade(t))
	}
	exit, ok := errors.AsType[*client.ExitError](cmd.Wait())
	if !ok || exit.ExitCode() != 7 || got.String() != want.String() {
		t.Errorf("Wait = %v, with %d bytes of output, want exit status 7 and %d bytes", exit, got.Len(), want.Len())
	}
}

// upgrade upgrades the agent to itself, and returns what it has said.
func (vm *vm) upgrade(t *testing.T) string {
	t.Helper()
	return vm.succeed(t, "client", "--resume", "--", "sh", "-c", `/proc/$PPID/exe upgrade --binary "$(readlink /proc/$PPID/exe)"`)
}

// A stagedBuffer is a buffer that waits, each time it has got so many bytes more, for somebody to look.
type stagedBuffer struct {
	bytes.Buffer
	every, next int
	reached     chan struct{}
}

func (s *stagedBuffer) Write(p []byte) (int, error) {
	n, err := s.Buffer.Write(p)
	for s.Len() >= s.next+s.every && s.next < 7*s.every {
		s.next += s.every
		s.reached <- struct{}{}
	}
	return n, err
}
