//go:build linux

package kubelet_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virtual-kubelet/virtual-kubelet/node/api"
	"golang.org/x/sys/unix"
)

// goneWithin is how soon nothing of a command is left whose caller has gone.
const goneWithin = 5 * time.Second

// kubectl starts a caller as a process of its own. stdin is nil for none.
func kubectl(t *testing.T, c *cluster, over, flags, script string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, c.URL, over, flags, "sh", "-c", script)
	cmd.Env = append(os.Environ(), asCaller+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// start starts cmd, which the end of the test kills.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// A tree is a script's beginning: a process, and one in the background in a
// session of its own, whose pids are written to a file. They ignore SIGTERM and
// SIGHUP.
const tree = `trap "" TERM HUP; setsid sleep 1000 & echo $$ $! >"$0.new"; mv "$0.new" "$0"; `

func pidsOf(t *testing.T, file string) []string {
	t.Helper()
	var pids []string
	eventually(t, patience, "the command has started", func() bool {
		text, err := os.ReadFile(file)
		pids = strings.Fields(string(text))
		return err == nil
	})
	return pids
}

func TestCommandOfACallerThatIsKilledIsGone(t *testing.T) {
	c, old := newCluster(t), newClusterWith(t, deaf)
	for _, way := range []struct {
		name    string
		cluster *cluster
		over    string
	}{
		{"websocket", c, overWebSocket},
		{"spdy", c, overSPDY},
		{"v4", c, overV4},
		{"websocket, old virtual-kubelet", old, overWebSocket},
		{"spdy, old virtual-kubelet", old, overSPDY},
	} {
		for _, state := range []struct{ name, flags, script string }{
			{"silent", "", `wait`},
			{"talking", "", `while :; do echo line; done`},
			{"reading", "i", `cat >/dev/null; echo whole >"$0.whole"; wait`},
			{"not reading", "i", `wait`},
			{"terminal", "it", `wait`},
			{"terminal that is read", "it", `while read line; do :; done; wait`},
			{"terminal without input", "t", `wait`},
		} {
			t.Run(way.name+"/"+state.name, func(t *testing.T) {
				t.Parallel()
				wantGone(t, way.cluster, way.over, state.flags, state.script)
			})
		}
	}
}

func wantGone(t *testing.T, c *cluster, over, flags, script string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pids")
	cmd := kubectl(t, c, over, flags, strings.ReplaceAll(tree+script, "$0", file))
	if strings.Contains(flags, "i") {
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = stdin.Close() })
		_, _ = io.WriteString(stdin, "half\n")
	}
	start(t, cmd)
	pids := pidsOf(t, file)
	_ = cmd.Process.Kill()
	killed := time.Now()
	for _, pid := range pids {
		eventually(t, goneWithin-time.Since(killed), "process "+pid+" is gone", func() bool { return gone(pid) })
	}
	t.Logf("gone after %v", time.Since(killed).Round(10*time.Millisecond))
	if _, err := os.Stat(file + ".whole"); err == nil {
		t.Error("the command was told that its input is complete")
	}
}

// It has killGrace to do so.
func TestCommandOfACallerThatGoesMayCleanUp(t *testing.T) {
	c := newCluster(t)
	for flags, signal := range map[string]string{"": "TERM", "t": "HUP"} {
		file := filepath.Join(t.TempDir(), "pids")
		cmd := kubectl(t, c, overWebSocket, flags, strings.ReplaceAll(
			`trap 'echo clean >"$0.clean"; exit' `+signal+`; echo $$ >"$0.new"; mv "$0.new" "$0"; while :; do sleep 0.05; done`, "$0", file,
		))
		start(t, cmd)
		pids := pidsOf(t, file)
		_ = cmd.Process.Kill()
		eventually(t, goneWithin, "process "+pids[0]+" is gone", func() bool { return gone(pids[0]) })
		if _, err := os.Stat(file + ".clean"); err != nil {
			t.Error(err)
		}
	}
}

// The input piles up, to the brim of each buffer, and the command reads none. (Over
// websockets nobody can see it: the API server itself is stuck.)
func TestCallerGoneEndsACommandWithUnreadInput(t *testing.T) {
	c := newCluster(t)
	file := filepath.Join(t.TempDir(), "pids")
	cmd := kubectl(t, c, overSPDY, "i", strings.ReplaceAll(tree+"wait", "$0", file))
	zeros, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zeros.Close()
	cmd.Stdin = zeros
	start(t, cmd)
	pids := pidsOf(t, file)
	awaitFull(t, pids[0], cmd.Process.Pid)
	_ = cmd.Process.Kill()
	for _, pid := range pids {
		eventually(t, goneWithin, "process "+pid+" is gone", func() bool { return gone(pid) })
	}
}

// awaitFull waits until nothing moves any more between a caller, which has read some of
// its input, and the pipe of its command, which holds some. (How much that takes when it
// is full depends on the pieces in which it came.)
func awaitFull(t *testing.T, command string, caller int) {
	t.Helper()
	pipe, err := os.Open("/proc/" + command + "/fd/0")
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	const still = 50 // looks, 5 ms apart
	last, looks := "", 0
	eventually(t, patience, "the caller is stuck", func() bool {
		held, err := unix.IoctlGetInt(int(pipe.Fd()), unix.TIOCINQ)
		if err != nil {
			t.Fatal(err)
		}
		account, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", caller))
		if err != nil {
			t.Fatal(err)
		}
		read, _, _ := strings.Cut(string(account), "\n") // rchar: bytes
		now := fmt.Sprint(held, read)
		looks++
		if now != last || held == 0 {
			last, looks = now, 0
		}
		return looks == still
	})
}

// The heartbeat keeps the connection of a silent command from being taken for
// idle, which it is after 30 seconds by default.
func TestSilentCommandOutlivesStreamIdleTimeout(t *testing.T) {
	c := newClusterWith(t, func(c *api.PodHandlerConfig) { c.StreamIdleTimeout = 2 * time.Second })
	c.Pods.Heartbeat = 100 * time.Millisecond
	for _, over := range []string{overWebSocket, overSPDY, overV4} {
		t.Run(over, func(t *testing.T) {
			t.Parallel()
			var stdout bytes.Buffer
			x := call{over: over, command: sh("sleep 5; echo end; exit 7"), stdin: held(t), stdout: &stdout, stderr: io.Discard}
			wantStatus(t, x.run(patiently(t), c.URL), 7)
			if stdout.String() != "end\n" {
				t.Errorf("stdout %q", &stdout)
			}
		})
	}
}
