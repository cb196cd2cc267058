package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

// A sent connection counts the writes that are done.
type sent struct {
	net.Conn
	writes atomic.Int64
}

func (s *sent) Write(p []byte) (int, error) {
	defer s.writes.Add(1)
	return s.Conn.Write(p)
}

// A process that has exited by itself did not exit because of a kill that came later.
// The agent is stopped meanwhile, and finds all of it at the same time.
func TestKillAfterTheExitIsNotTheReason(t *testing.T) {
	target, agent := agent(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	wire := new(sent)
	c, err := client.DialWith(t.Context(), func(ctx context.Context) (net.Conn, error) {
		parsed, err := client.ParseTarget(target)
		if err == nil {
			wire.Conn, err = parsed.Dial(ctx)
		}
		return wire, err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stop := func(sig syscall.Signal, state string) {
		_ = agent.Process.Signal(sig)
		eventually(t, "the agent is "+state, func() bool {
			return strings.Contains(statOf(strconv.Itoa(agent.Process.Pid)), ") T ") == (sig == syscall.SIGSTOP)
		})
	}
	for range 3 {
		const timeout = time.Second
		var all []*client.Cmd
		begun := time.Now()
		for i := range 8 {
			cmd := c.Command("sh", "-c", "read -r line <"+fifo+"; exit 7")
			if i%2 == 0 {
				cmd.Timeout = timeout
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			all = append(all, cmd)
		}
		stop(syscall.SIGSTOP, "stopped")
		if time.Since(begun) > timeout {
			t.Skip("this machine is too slow to be sure of what came first")
		}
		f, err := os.OpenFile(fifo, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = f.WriteString(strings.Repeat("line\n", len(all)))
		for _, cmd := range all {
			pid := strconv.Itoa(cmd.PID())
			eventually(t, "process "+pid+" has exited", func() bool { return strings.Contains(statOf(pid), ") Z ") })
		}
		_ = f.Close()
		for i, cmd := range all {
			if i%2 == 1 {
				before := wire.writes.Load()
				go cmd.Kill() // ends by the answer
				eventually(t, "the kill is in the agent's socket", func() bool { return wire.writes.Load() > before })
			}
		}
		<-time.After(time.Until(begun.Add(3 * timeout / 2))) // timers that run out are what is tested
		stop(syscall.SIGCONT, "going on")
		for i, cmd := range all {
			if err := cmd.Wait(); err == nil || err.Error() != "exit status 7" || cmd.ProcessState.Reason() != "exit" {
				t.Errorf("command %d: %v, for %s", i, err, cmd.ProcessState.Reason())
			}
		}
	}
}
