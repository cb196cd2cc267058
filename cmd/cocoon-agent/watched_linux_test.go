package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/e2e/checks"
	"github.com/cocoonstack/cocoon-agent/internal/hangtest"
)

// fastWatchdogs divides the times of an agent's watchdogs: see watchSpeed.
const fastWatchdogs = "COCOON_AGENT_TEST_WATCH_SPEED"

const (
	// quick is a speed with which an agent that is stuck aborts within 1.5 s.
	quick = "60"

	// stuckTime is longer than a quick agent may be stuck.
	stuckTime = 2 * time.Second
)

// A pending is a command whose start hangs.
type pending struct {
	cancel context.CancelFunc
	ended  chan error
}

func hold(t *testing.T, c *client.Client, dir string, argv ...string) *pending {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	cmd := c.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	h := &pending{cancel, make(chan error, 1)}
	go func() { h.ended <- cmd.Start() }() // ends with ctx
	return h
}

// end ends the command.
func (h *pending) end(t *testing.T) {
	t.Helper()
	h.cancel()
	if err := within(t, "the end of a start that hangs", func() error { return <-h.ended }); !errors.Is(err, context.Canceled) {
		t.Errorf("Start = %v, want %v", err, context.Canceled)
	}
}

// holdFrozen starts a command in a cgroup that is frozen.
func holdFrozen(t *testing.T, c *client.Client, agent *exec.Cmd) *pending {
	t.Helper()
	var ready []string
	eventually(t, "cgroups are made ahead", func() bool {
		ready, _ = filepath.Glob(cgroupOf(agent) + "/exec-*/cgroup.freeze")
		return len(ready) == 8
	})
	for _, path := range ready {
		writeFile(t, path, "1")
	}
	h := hold(t, c, "", "true")
	var taken string
	eventually(t, "a frozen cgroup is taken", func() bool {
		for _, path := range ready {
			procs, _ := os.ReadFile(filepath.Dir(path) + "/cgroup.procs")
			if len(procs) > 0 {
				taken = path
			}
		}
		return taken != ""
	})
	for _, path := range ready {
		if path != taken {
			writeFile(t, path, "0")
		}
	}
	return h
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

// childrenOf counts the children of a process.
func childrenOf(pid int) (n int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		text, _ := os.ReadFile(list) // the thread may have ended
		n += len(strings.Fields(string(text)))
	}
	return n
}

// Starts hang for every reason there is, nobody reads the log, and garbage is collected all
// the time. All else goes on, and for longer than a watchdog waits.
func TestStartsThatHangHoldUpNothing(t *testing.T) {
	t.Setenv(fastWatchdogs, quick)
	t.Setenv("GOGC", "1")
	r, w := openPipe(t)
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	target, agent := loggingTo(t, r, w)
	holding(t, target)
	c := dialed(t, target)
	p, stopped, hung := hangtest.NewProgram(t), hangtest.NewMount(t), hangtest.NewMount(t)
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!"+stopped.Path()+"/script\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	stopped.Stop()
	hung.Hang()
	var all []*pending
	if cgroupOf(agent) != "" {
		all = append(all, holdFrozen(t, c, agent))
	}
	all = append(all,
		hold(t, c, "", p.Path()),
		hold(t, c, "", script),
		hold(t, c, stopped.Path()+"/dir", "true"),
		hold(t, c, hung.Path()+"/dir", "true"),
	)
	p.Await(t)
	eventually(t, "all hang", func() bool { return hung.Hanging() == 1 && childrenOf(agent.Process.Pid) == len(all) })

	commands := 200
	if testing.Short() {
		commands = 20
	}
	goesOn(t, c, commands)
	if n := childrenOf(agent.Process.Pid); n != len(all) {
		t.Errorf("%d children of the agent, want %d that hang", n, len(all))
	}
	for _, h := range all {
		h.end(t)
	}
	hung.End()
	eventually(t, "no child is left", func() bool { return childrenOf(agent.Process.Pid) == 0 })
	_ = agent.Process.Signal(syscall.SIGTERM)
	if err := within(t, "the agent's end", agent.Wait); err != nil {
		t.Errorf("the agent: %v", err)
	}
}

// goesOn wants all else to go on for stuckTime, and for that many commands.
func goesOn(t *testing.T, c *client.Client, commands int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	service := echo(t, c)
	beside := c.CommandContext(ctx, "cat")
	var out bytes.Buffer
	beside.Stdout = &out
	in, err := beside.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := beside.Start(); err != nil {
		t.Fatal(err)
	}
	begun, n := time.Now(), 0
	for ; n < commands || time.Since(begun) < stuckTime; n++ {
		if err := c.CommandContext(ctx, "true").Run(); err != nil {
			t.Fatalf("command %d: %v", n, err)
		}
		if err := c.Ping(ctx); err != nil {
			t.Fatalf("ping %d: %v", n, err)
		}
		_, _ = io.WriteString(service, "x")
		if _, err := io.ReadFull(service, make([]byte, 1)); err != nil {
			t.Fatalf("byte %d through the service: %v", n, err)
		}
		_, _ = io.WriteString(in, "y")
	}
	_ = in.Close()
	if err := beside.Wait(); err != nil || out.String() != strings.Repeat("y", n) {
		t.Errorf("a command beside it: %v, %d bytes of output, want %d", err, out.Len(), n)
	}
	t.Logf("%d commands in %v", n, time.Since(begun))
}

// echo connects to a service that echoes.
func echo(t *testing.T, c *client.Client) net.Conn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() { // ends with the listener, or the connection
		if served, err := ln.Accept(); err == nil {
			_, _ = io.Copy(served, served)
			_ = served.Close()
		}
	}()
	conn, err := c.DialGuest(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// asDenied has the program run without clone3, as under a filter of system calls.
const asDenied = "COCOON_AGENT_TEST_DENY_CLONE3"

func denied() {
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_CLONE3, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_ = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	_, _, err := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&filter)))
	if err != 0 {
		panic(err)
	}
}

// Without clone3 a start that hangs stops the agent. A thread that needs no Go ends it.
func TestAgentThatAStartStopsIsEnded(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a start hang")
	}
	t.Setenv(fastWatchdogs, quick)
	t.Setenv("GOGC", "1")
	t.Setenv(asDenied, "1")
	r, w := openPipe(t)
	target, agent := loggingTo(t, r, w)
	var log checks.Log
	go func() { _, _ = io.Copy(&log, r) }() // ends with the child, which has the agent's descriptors
	c := dialed(t, target)
	if i, err := c.Info(t.Context()); err != nil || i.Start != "vfork" {
		t.Fatalf("Info = %+v, %v, want vfork", i, err)
	}
	p := hangtest.NewProgram(t)
	hold(t, c, "", p.Path())
	p.Await(t)
	ctx, cancel := context.WithCancel(t.Context())
	var pings sync.WaitGroup
	pings.Go(func() { // until garbage is collected, and the agent answers no more
		for {
			if err := c.Ping(ctx); err != nil {
				return
			}
		}
	})
	defer pings.Wait()
	defer cancel()
	_ = within(t, "the agent's end", agent.Wait)
	// SIGKILL comes before Go has given up on the thread that the start holds.
	if status := agent.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() {
		t.Errorf("the agent ends with status %#x, want a signal", int(status))
	}
	eventually(t, "the stacks are printed", func() bool {
		return strings.Contains(log.String(), "SIGABRT: abort") && strings.Contains(log.String(), "\ngoroutine 1 ")
	})
}

// A VM was paused, and goes on with another time.
func TestStoppedAgentWhoseClockJumpsGoesOn(t *testing.T) {
	if cpu, _ := os.ReadFile("/proc/cpuinfo"); !bytes.Contains(cpu, []byte("User Mode Linux")) {
		t.Skip("sets the clock of the machine; make e2e runs it in a guest")
	}
	t.Setenv(fastWatchdogs, quick)
	target, agent := agent(t)
	c := dialed(t, target)
	if err := c.Ping(t.Context()); err != nil { // the watchdogs watch
		t.Fatal(err)
	}
	_ = agent.Process.Signal(syscall.SIGSTOP)
	setClock(t, 10*time.Hour)
	<-time.After(stuckTime)
	_ = agent.Process.Signal(syscall.SIGCONT)
	goesOn(t, c, 1)
	setClock(t, -10*time.Hour)
	goesOn(t, c, 1)
	_ = agent.Process.Signal(syscall.SIGTERM)
	if err := within(t, "the agent's end", agent.Wait); err != nil {
		t.Errorf("the agent: %v", err)
	}
}

func setClock(t *testing.T, by time.Duration) {
	t.Helper()
	now := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
		t.Fatal(err)
	}
}
