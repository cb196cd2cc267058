//go:build e2e && linux

// Package wine_test tests the agent for Windows, under Wine, with a client on Linux.
package wine_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

// Programs that run.sh has built.
var (
	agentProgram  = os.Getenv("WINE_AGENT")      // for Windows, which listens on loopback
	toolProgram   = os.Getenv("WINE_TOOL")       // for Windows: the tests of internal/proc, whose roles are commands
	clientProgram = os.Getenv("COCOON_AGENT")    // for Linux
	oldProgram    = os.Getenv("WINE_OLD_CLIENT") // for Linux, of before Windows guests
)

// An agent is the one for Windows, and the Unix socket that leads to it.
type agent struct {
	checks.Agent
	socket string
	log    string // where its log is once it has ended
	end    func() // ends it, and has its log written
}

// the agent of all tests.
var the *agent

func TestMain(m *testing.M) {
	if agentProgram == "" {
		fmt.Fprintln(os.Stderr, "WINE_AGENT is not set: run e2e/wine/run.sh")
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "wine")
	if err != nil {
		panic(err)
	}
	if the, err = startAgent(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	the.end()
	if log, err := os.ReadFile(the.log); status != 0 && err == nil {
		fmt.Fprintf(os.Stderr, "log of the agent:\n%s\n", log)
	}
	if why := checkLog(the.log); why != "" {
		fmt.Fprintln(os.Stderr, why)
		status = max(status, 1)
	}
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// startAgent starts the agent, which listens when startAgent returns.
func startAgent(dir string) (*agent, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := ln.Addr().String()
	_ = ln.Close()
	a := &agent{socket: filepath.Join(dir, "s"), log: filepath.Join(dir, "log")}
	out, err := os.Create(a.log)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("./exec", agentProgram, "serve", "--log-args")
	cmd.Env = append(os.Environ(), "COCOON_AGENT_LOOPBACK="+address)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	proxy, err := net.Listen("unix", a.socket)
	if err != nil {
		return nil, err
	}
	go forward(proxy, address) // ends with the listener
	a.Agent = checks.Agent{Program: clientProgram, Target: "unix://" + a.socket}
	a.end = func() {
		_ = proxy.Close()
		_ = exec.Command("./exec", "cmd", "/c", "exit").Run() // all that runs there ends with it
		_ = cmd.Wait()
		_ = out.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), checks.Patience)
	defer cancel()
	c, err := client.WaitReady(ctx, a.Target)
	if err != nil {
		a.end()
		return nil, err
	}
	return a, c.Close()
}

// forward carries connections to the address.
func forward(ln net.Listener, address string) {
	for {
		near, err := ln.Accept()
		if err != nil {
			return
		}
		go func() { // ends with the connection
			defer near.Close()
			far, err := net.Dial("tcp", address)
			if err != nil {
				return
			}
			defer far.Close()
			var both sync.WaitGroup
			for _, x := range [][2]net.Conn{{near, far}, {far, near}} {
				both.Go(func() {
					_, _ = io.Copy(x[0], x[1])
					_ = x[0].Close() // as vsock does, when one side is gone
				})
			}
			both.Wait()
		}()
	}
}

// checkLog returns what is missing in the agent's log.
func checkLog(path string) string {
	log, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	for _, want := range []string{`"exec requested"`, `"exec started"`, `"exec ended"`, `"argv":`} {
		if !strings.Contains(string(log), want) {
			return fmt.Sprintf("no %s in the log:\n%s", want, log)
		}
	}
	return ""
}

func patiently(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), checks.Patience)
	t.Cleanup(cancel)
	return ctx
}

// as is the command that plays a role of internal/proc's tests.
func as(role string, args ...string) []string {
	return append([]string{windowsPath(toolProgram), "-role", role}, args...)
}

// windowsPath is a path of this machine as Wine has it.
func windowsPath(path string) string { return "Z:" + strings.ReplaceAll(path, "/", `\`) }

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(checks.Patience)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", checks.Patience, what)
		}
		<-time.After(20 * time.Millisecond)
	}
}
