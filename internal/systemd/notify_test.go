//go:build linux

package systemd_test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/systemd"
)

// environment is what a service manager gives, and nothing else of the kind.
func environment(t *testing.T, given map[string]string) {
	t.Helper()
	for _, variable := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		t.Setenv(variable, given[variable])
	}
}

// manager listens as a service manager does.
func manager(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn
}

func TestNotifyTellsTheManagerInOneMessage(t *testing.T) {
	dir, err := os.MkdirTemp("", "notify") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{dir + "/s", "@" + filepath.Base(dir)} {
		conn := manager(t, name)
		environment(t, map[string]string{"NOTIFY_SOCKET": name})
		n, err := systemd.NewNotifier()
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Notify(systemd.Ready, systemd.Status("up\nand away")); err != nil {
			t.Fatal(err)
		}
		message := make([]byte, 100)
		size, err := conn.Read(message)
		if want := "READY=1\nSTATUS=up and away"; string(message[:size]) != want || err != nil {
			t.Errorf("over %s systemd gets %q, %v, want %q", name, message[:size], err, want)
		}
		if v, ok := os.LookupEnv("NOTIFY_SOCKET"); ok {
			t.Errorf("NOTIFY_SOCKET is still %q", v)
		}
	}
}

func TestNotifyWithoutAManagerTellsNobody(t *testing.T) {
	environment(t, nil)
	n, err := systemd.NewNotifier()
	if err != nil || n.Notify(systemd.Ready) != nil || n.Timeout() != 0 {
		t.Errorf("NewNotifier = %+v, %v, want one that tells nobody", n, err)
	}
}

func TestNotifySaysThatTheManagerIsGone(t *testing.T) {
	environment(t, map[string]string{"NOTIFY_SOCKET": "/nonexistent/s"})
	n, err := systemd.NewNotifier()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Notify(systemd.Ready); err == nil || !strings.Contains(err.Error(), "/nonexistent/s") {
		t.Error(err)
	}
}

func TestWatchdogTimeoutIsThatOfThisProcess(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	for _, test := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"", "", 0},
		{"", own, 0},
		{"3000000", "", 3 * time.Second},
		{"3000000", own, 3 * time.Second},
		{"3000000", "1", 0},
	} {
		environment(t, map[string]string{"WATCHDOG_USEC": test.usec, "WATCHDOG_PID": test.pid})
		if n, err := systemd.NewNotifier(); n.Timeout() != test.want || err != nil {
			t.Errorf("with %+v the watchdog's timeout is %v, %v, want %v", test, n.Timeout(), err, test.want)
		}
	}
}

func TestEnvironmentWithoutSenseIsAnError(t *testing.T) {
	for _, test := range []struct{ variable, value string }{
		{"NOTIFY_SOCKET", "relative"},
		{"NOTIFY_SOCKET", "vsock:2:1234"},
		{"WATCHDOG_USEC", "soon"},
		{"WATCHDOG_USEC", "0"},
		{"WATCHDOG_USEC", "-1"},
		{"WATCHDOG_USEC", "18446744073709551615"},
	} {
		environment(t, map[string]string{test.variable: test.value})
		n, err := systemd.NewNotifier()
		if err == nil || !strings.HasPrefix(err.Error(), test.variable+"="+strconv.Quote(test.value)) || n.Timeout() != 0 {
			t.Errorf("NewNotifier with %v = %+v, %v, want an error that names the variable", test, n, err)
		}
	}
}

func TestSocketsOfAnotherProcessAreNone(t *testing.T) {
	for _, pid := range []string{"", "1", "x"} {
		environment(t, map[string]string{"LISTEN_PID": pid, "LISTEN_FDS": "1"})
		if sockets, err := systemd.Sockets(); sockets != nil || err != nil {
			t.Errorf("LISTEN_PID=%q: %v, %v", pid, sockets, err)
		}
	}
}

func TestSocketsAreTakenOnce(t *testing.T) {
	environment(t, map[string]string{"LISTEN_PID": strconv.Itoa(os.Getpid()), "LISTEN_FDS": "0"})
	for range 2 {
		if sockets, err := systemd.Sockets(); sockets != nil || err != nil {
			t.Errorf("Sockets = %v, %v, want none", sockets, err)
		}
		if v, ok := os.LookupEnv("LISTEN_FDS"); ok {
			t.Errorf("LISTEN_FDS is still %q", v)
		}
	}
}
