//go:build linux

package checks

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A Log is what an agent has written to its standard error. It is safe for
// concurrent use.
type Log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A Served is an agent that a test has started.
type Served struct {
	*exec.Cmd
	Log *Log
}

// Serve starts "cocoon-agent serve" with args, and waits until it listens. If it still
// runs at the end of the test, it is killed.
func Serve(t *testing.T, args ...string) *Served {
	t.Helper()
	return ServeIn(t, nil, args...)
}

// ServeIn is Serve, with the agent started in a cgroup. nil: the test's own.
func ServeIn(t *testing.T, cgroup *os.File, args ...string) *Served {
	t.Helper()
	cmd := exec.Command(Program(t), append([]string{"serve"}, args...)...)
	if cgroup != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
	}
	return serve(t, cmd)
}

// ServeAs is Serve, with the agent started as another user.
func ServeAs(t *testing.T, user *syscall.Credential, args ...string) *Served {
	t.Helper()
	cmd := exec.Command(Program(t), append([]string{"serve"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
	return serve(t, cmd)
}

// ServePassed is Serve, with the agent given a socket as sd_listen_fds(3) has it.
func ServePassed(t *testing.T, socket *os.File, args ...string) *Served {
	t.Helper()
	sh := []string{"-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"`, "sh", Program(t), "serve"}
	cmd := exec.Command("sh", append(sh, args...)...)
	cmd.ExtraFiles = []*os.File{socket}
	return serve(t, cmd)
}

func serve(t *testing.T, cmd *exec.Cmd) *Served {
	t.Helper()
	s := &Served{Cmd: cmd, Log: new(Log)}
	s.Env = append(s.Environ(), "AGENT_LOG_LEVEL=debug")
	stderr, err := s.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.Process.Kill()
		_ = s.Wait()
		if t.Failed() {
			t.Logf("the agent's log:\n%s", s.Log)
		}
	})
	lines := bufio.NewReader(stderr)
	for {
		line, err := lines.ReadString('\n')
		_, _ = io.WriteString(s.Log, line)
		if err != nil {
			t.Fatalf("the agent does not listen: %v", err)
		}
		if strings.Contains(line, `"message":"listening"`) {
			break
		}
	}
	go func() { _, _ = io.Copy(s.Log, lines) }() // ends with the agent
	return s
}

// Eventually waits until done returns true.
func Eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(Patience); !done(); <-poll.C {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
