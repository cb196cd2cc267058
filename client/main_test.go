//go:build linux

package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
)

// The examples have an agent of their own.
func TestMain(m *testing.M) {
	agenttest.ServeFiles()
	a, err := agenttest.New()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	target = a.Target
	code := m.Run()
	if err := errors.Join(a.Close(), goleak.Find()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// dial connects to a new agent.
func dial(tb testing.TB) (*client.Client, *agenttest.Agent) {
	tb.Helper()
	a := agenttest.Start(tb)
	return connect(tb, a.Target), a
}

func connect(tb testing.TB, target string) *client.Client {
	tb.Helper()
	c, err := client.Dial(tb.Context(), target)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// gone says whether no process of that pid lives. A zombie does not.
func gone(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z") || strings.HasPrefix(after, "X")
}

func wantExit(tb testing.TB, err error, status int) *client.ExitError {
	tb.Helper()
	exit, ok := errors.AsType[*client.ExitError](err)
	if !ok {
		tb.Fatalf("error %v (%T), want an ExitError with status %d", err, err, status)
	}
	if exit.ExitStatus() != status {
		tb.Fatalf("exit status %d, want %d", exit.ExitStatus(), status)
	}
	return exit
}

func wantKind(tb testing.TB, err error, kind client.Kind) {
	tb.Helper()
	remote, ok := errors.AsType[*client.RemoteError](err)
	if !ok || remote.Kind != kind {
		tb.Fatalf("error %v (%T), want a RemoteError of kind %s", err, err, kind)
	}
}

func patiently(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), agenttest.Patience)
	tb.Cleanup(cancel)
	return ctx
}
