package netid_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inNamespace marks the test program in namespaces of its own.
const inNamespace = "NETID_TEST_NAMESPACE"

// TestMain runs the tests in namespaces of their own: nothing here may touch the machine's network.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(inNamespace) != "":
		if all, err := net.Interfaces(); err != nil || len(all) != 1 || all[0].Name != "lo" {
			fmt.Fprintf(os.Stderr, "netid: these tests want a network namespace of their own, without interfaces: %v\n", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	case os.Geteuid() != 0:
		os.Exit(m.Run()) // the tests skip
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	if err := cmd.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "netid: in a namespace: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A host is a thread in a network namespace of its own.
type host struct {
	t  *testing.T
	do chan func()
	ns *os.File
}

// newHost starts a host without interfaces.
func newHost(t *testing.T) *host {
	t.Helper()
	if os.Getenv(inNamespace) == "" {
		t.Skip("only root can make network namespaces")
	}
	h := &host{t: t, do: make(chan func())}
	started := make(chan error)
	go func() { // ends with the test, and its thread with it
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			h.ns, err = os.Open("/proc/thread-self/ns/net")
		}
		started <- err
		for f := range h.do {
			f()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(h.do)
		_ = h.ns.Close()
	})
	h.sh("ip link set lo up")
	return h
}

// in calls f on the host's thread. f must not start goroutines that use the network.
func (h *host) in(f func()) {
	done := make(chan struct{})
	h.do <- func() {
		defer close(done)
		f()
	}
	<-done
}

// beside returns another thread in the host's namespace.
func (h *host) beside() *host {
	h.t.Helper()
	other := newHost(h.t)
	other.in(func() {
		if err := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			h.t.Error(err)
		}
	})
	return other
}

// sh runs a script in the host's namespace, and returns its output.
func (h *host) sh(script string) string {
	h.t.Helper()
	var out []byte
	var err error
	h.in(func() { out, err = exec.Command("sh", "-ec", script).CombinedOutput() })
	if err != nil {
		h.t.Fatalf("sh -ec %q: %v: %s", script, err, out)
	}
	return string(out)
}

// plug connects an interface of the host with one of another host.
func (h *host) plug(name string, other *host, otherName string) {
	h.t.Helper()
	h.sh(fmt.Sprintf("ip link add %s type veth peer name %s netns /proc/%d/fd/%d", name, otherName, os.Getpid(), other.ns.Fd()))
}

// has reports whether the output of a command has a text.
func (h *host) has(command, text string) bool {
	h.t.Helper()
	return strings.Contains(h.sh(command), text)
}

// patience is far longer than anything takes.
const patience = 30 * time.Second

// eventually waits for what the kernel does by itself.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-poll.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}
