//go:build linux

package session_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A connection ends with its host, and not with the commands that it has kept.
func TestKeptExecDoesNotKeepItsConnection(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	out := h.open()
	h.send(&wire.Exec{
		Head: wire.Head{ID: 1}, Argv: []string{"sh", "-c", "echo; exec sleep 1000"},
		Stdout: out.ID(), OnDisconnect: wire.DisconnectKeep,
	})
	started := h.receive().(*wire.Started)
	if n, err := out.Read(make([]byte, 8)); n != 1 || err != nil {
		t.Fatalf("the output of the kept exec: %d bytes, %v", n, err)
	}
	collected := session.Collected(a.Server())
	_ = h.mux.Close()

	other := connect(t, a)
	agenttest.Eventually(t, "the end of the host's connection", func() bool { return session.Connections(a.Server()) == 1 })
	agenttest.Eventually(t, "the end of what the connection had", func() bool { runtime.GC(); return collected[0]() })
	list := other.list(1)
	if len(list) != 1 || list[0].PID != started.PID || list[0].Connected || gone(started.PID) {
		t.Errorf("after the end of the connection there are %+v, want the kept exec", list)
	}
	other.send(&wire.Kill{Head: wire.Head{ID: 2}, Handle: started.Handle, Force: true})
	if _, ok := other.receive().(*wire.Done); !ok {
		t.Error("the kept exec cannot be killed")
	}
	agenttest.Eventually(t, "the record of its end", func() bool {
		return strings.Contains(a.Log.String(), `"reason":"killed"`) && strings.Contains(a.Log.String(), `"stdout_bytes":1,`)
	})
}

// Input that has come before the end of the connection is the command's, however
// late it reads that. Nobody waits for it.
func TestKeptExecGetsWhatItsHostHadSent(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	dir := t.TempDir()
	in := h.open()
	h.send(&wire.Exec{
		Head:  wire.Head{ID: 1},
		Argv:  []string{"sh", "-c", "until [ -e go ]; do sleep 0.02; done; head -c 200000 | wc -c >count.new; mv count.new count; exec sleep 1000"},
		Dir:   dir,
		Stdin: in.ID(), OnDisconnect: wire.DisconnectKeep,
	})
	if _, ok := h.receive().(*wire.Started); !ok {
		t.Fatal("not started")
	}
	if _, err := in.Write(make([]byte, 200_000)); err != nil { // more than a pipe holds, less than the window
		t.Fatal(err)
	}
	h.send(&wire.Ping{Head: wire.Head{ID: 2}}) // comes after the input
	h.receive()
	_ = h.mux.Close()
	agenttest.Eventually(t, "the end of the connection", func() bool { return session.Connections(a.Server()) == 0 })
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "the input", func() bool {
		count, _ := os.ReadFile(filepath.Join(dir, "count"))
		return strings.TrimSpace(string(count)) == "200000"
	})
}

// A host that goes before its command has started cannot be told of it. The command
// is kept all the same, once the request has been recorded.
func TestExecIsKeptIfTheHostLeavesBeforeTheStart(t *testing.T) {
	recording, recorded := make(chan struct{}), make(chan struct{})
	a := agenttest.StartWith(t, func(c *session.Config) {
		c.Recording = func() session.Recorded {
			close(recording)
			return func(func(error)) (bool, error) { <-recorded; return true, nil }
		}
	})
	h := connect(t, a)
	h.send(keep(1))
	<-recording
	_ = h.mux.Close()
	agenttest.Eventually(t, "that the host is known to have gone", func() bool {
		return strings.Contains(a.Log.String(), `"message":"disconnected"`)
	})
	close(recorded)
	agenttest.Eventually(t, "the end of the connection", func() bool { return session.Connections(a.Server()) == 0 })
	other := connect(t, a)
	if list := other.list(1); len(list) != 1 || list[0].Connected {
		t.Errorf("execs: %+v, want the kept one", list)
	}
}

// Shutdown waits for a command that no connection has any more, and its record.
func TestShutdownEndsExecsThatWereKept(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	h.send(keep(1))
	pid := h.receive().(*wire.Started).PID
	_ = h.mux.Close()
	agenttest.Eventually(t, "the end of the connection", func() bool { return session.Connections(a.Server()) == 0 })
	a.Shutdown(t)
	if !gone(pid) {
		t.Errorf("the kept exec, pid %d, has outlived the agent", pid)
	}
	if !strings.Contains(a.Log.String(), `"reason":"shutdown"`) {
		t.Errorf("the log has no record of the kept exec's end:\n%s", a.Log)
	}
}
