//go:build e2e && linux

package hybrid_test

import (
	"encoding/json"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

// A monitor is QEMU's, which speaks QMP: JSON objects, a greeting, and then an
// answer to each command, with events in between.
type monitor struct {
	t    *testing.T
	conn net.Conn
	in   *json.Decoder
}

type arguments map[string]any

func monitorIn(dir string) []string {
	return []string{"-qmp", "unix:" + filepath.Join(dir, "qmp") + ",server=on,wait=off"}
}

func openMonitor(t *testing.T, dir string) *monitor {
	t.Helper()
	m := &monitor{t: t}
	checks.Eventually(t, "QEMU's monitor is there", func() (ok bool) {
		var err error
		m.conn, err = net.Dial("unix", filepath.Join(dir, "qmp"))
		return err == nil
	})
	t.Cleanup(func() { _ = m.conn.Close() })
	_ = m.conn.SetDeadline(time.Now().Add(2 * checks.Patience))
	m.in = json.NewDecoder(m.conn)
	m.do("qmp_capabilities", nil)
	return m
}

// A reply is an answer, an event, or the greeting.
type reply struct {
	Return *struct{ Status string }
	Error  *struct{ Desc string }
	Event  string
}

func (m *monitor) do(command string, args arguments) (r struct{ Status string }) {
	m.t.Helper()
	request := struct {
		Execute   string    `json:"execute"`
		Arguments arguments `json:"arguments,omitempty"`
	}{command, args}
	if err := json.NewEncoder(m.conn).Encode(request); err != nil {
		m.t.Fatalf("%s: %v", command, err)
	}
	answer := m.read(func(r reply) bool { return r.Return != nil || r.Error != nil })
	if answer.Error != nil {
		m.t.Fatalf("%s: %s", command, answer.Error.Desc)
	}
	return *answer.Return
}

func (m *monitor) await(event string) {
	m.t.Helper()
	m.read(func(r reply) bool { return r.Event == event })
}

func (m *monitor) read(wanted func(reply) bool) reply {
	m.t.Helper()
	for {
		var r reply
		if err := m.in.Decode(&r); err != nil {
			m.t.Fatalf("QEMU's monitor: %v", err)
		}
		if wanted(r) {
			return r
		}
	}
}

// attach plugs in the device that onVhost has named.
func (m *monitor) attach() {
	m.t.Helper()
	m.do("device_add", arguments{"driver": "vhost-user-vsock-pci", "id": "vsock0", "chardev": "vsock"})
}
