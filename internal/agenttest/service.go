package agenttest

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// Listen makes a service of the guest's, which a test's own machine is, until the
// end of the test. network is tcp or unix. It takes no connections by itself.
func Listen(tb testing.TB, network string) net.Listener {
	tb.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		dir, err := os.MkdirTemp("", "guest") // a Unix socket's path is short
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = os.RemoveAll(dir) })
		address = filepath.Join(dir, "s")
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = ln.Close() })
	return ln
}
