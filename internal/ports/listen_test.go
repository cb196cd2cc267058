//go:build linux

package ports_test

import (
	"io/fs"
	"net"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/cocoonstack/cocoon-agent/internal/ports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func spec(host ports.Endpoint) ports.Spec { return ports.Spec{Host: host, Guest: tcp("localhost:80")} }

func listen(t *testing.T, hosts ...ports.Endpoint) []*ports.Listener {
	t.Helper()
	var specs []ports.Spec
	for _, h := range hosts {
		specs = append(specs, spec(h))
	}
	bound, err := ports.Listen(t.Context(), specs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ports.CloseAll(bound) })
	return bound
}

func TestListenUsesBothLoopbackAddresses(t *testing.T) {
	var hosts []string
	ports0 := map[string]bool{}
	for _, l := range listen(t, tcp(":0")) {
		host, port, err := net.SplitHostPort(l.Address())
		if err != nil {
			t.Fatal(err)
		}
		hosts, ports0[port] = append(hosts, host), true
	}
	if got := strings.Join(hosts, " "); got != "127.0.0.1 ::1" && got != "127.0.0.1" || len(ports0) != 1 {
		t.Errorf("Listen of any port = %q with ports %v, want 127.0.0.1 and ::1 with one port", got, ports0)
	}
}

func TestListenBindsWhatIsWritten(t *testing.T) {
	for host, want := range map[string]string{"*:0": "[::]:", "127.0.0.1:0": "127.0.0.1:"} {
		bound := listen(t, tcp(host))
		if got := bound[0].Address(); len(bound) != 1 || !strings.HasPrefix(got, want) && got[:2] != "0." {
			t.Errorf("Listen(%q) = %q, want %q", host, got, want)
		}
	}
}

func TestListenBindsAllOrNothing(t *testing.T) {
	taken := listen(t, tcp("127.0.0.1:0"))[0]
	path := t.TempDir() + "/s"
	bound, err := ports.Listen(t.Context(), []ports.Spec{spec(unix(path)), spec(tcp(":0")), spec(tcp(taken.Address()))})
	if err == nil || len(bound) > 0 || !strings.Contains(err.Error(), taken.Address()) {
		t.Errorf("Listen with a taken port = %v, %v, want an error that names it", bound, err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket of a Listen that failed is left")
	}
}

func TestUnixListenerIsPrivateAndRemoved(t *testing.T) {
	path := t.TempDir() + "/s"
	l := listen(t, unix(path))[0]
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode()&fs.ModeSocket == 0 {
		t.Errorf("mode of the socket = %v, %v, want 0600", info.Mode(), err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket is left after Close")
	}
}

func TestUnixListenerReplacesOnlyTheDead(t *testing.T) {
	dir := t.TempDir()
	dead, file := dir+"/dead", dir+"/file"
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	_ = ln.Close()
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	alive := listen(t, unix(dead))[0]
	for path, want := range map[string]string{dead: "a program listens", file: "not a socket", dir + "/no/dir": "no such file"} {
		bound, err := ports.Listen(t.Context(), []ports.Spec{spec(unix(path))})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Listen(%q) = %v, %v, want an error with %q", path, bound, err, want)
		}
	}
	if _, err := os.Lstat(dead); err != nil {
		t.Errorf("the socket that answers: %v", err)
	}
	_ = alive.Close()
}

func TestUnixListenerLeavesAnothersSocket(t *testing.T) {
	path := t.TempDir() + "/s"
	l := listen(t, unix(path))[0]
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("Close has removed what another program made: %v", err)
	}
}
