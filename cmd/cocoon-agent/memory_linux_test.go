package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// peakRSS returns the largest resident set that a process has had, in bytes.
func peakRSS(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// A flood is a host that opens streams and fills each one's window.
func flood(t *testing.T, target string, streams int, done chan<- struct{}) {
	defer func() { done <- struct{}{} }()
	conn, err := net.Dial("unix", strings.TrimPrefix(target, "unix://"))
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	// As a host that reads does, until the agent ends the connection.
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	out := bufio.NewWriter(conn)
	_, _ = out.WriteString(wire.Preface)
	const window = 256 << 10
	body := make([]byte, window)
	frame := func(kind byte, flags uint16, id, length uint32) {
		header := []byte{0, kind}
		header = binary.BigEndian.AppendUint16(header, flags)
		header = binary.BigEndian.AppendUint32(header, id)
		_, _ = out.Write(binary.BigEndian.AppendUint32(header, length))
	}
	const data, update, syn = 0, 1, 1
	frame(update, syn, 1, 0)
	hello, err := wire.Append(nil, &wire.Hello{Min: 2, Max: 2})
	if err != nil {
		t.Error(err)
		return
	}
	frame(data, 0, 1, uint32(len(hello)))
	_, _ = out.Write(hello)
	for i := range streams {
		id := uint32(2*i + 3)
		frame(update, syn, id, 0)
		frame(data, 0, id, window)
		if _, err := out.Write(body); err != nil {
			return // cut off
		}
	}
	_ = out.Flush()
}

// The bound is README.md's: --max-input-memory and 64 MiB.
func TestFullWindowsDoNotFillTheGuestsMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	if raceEnabled {
		t.Skip("the race detector has memory of its own")
	}
	target, cmd := agent(t)
	before := peakRSS(t, cmd.Process.Pid)
	const hosts = 4
	done := make(chan struct{}, hosts)
	for range hosts {
		go flood(t, target, 200, done) // ends with its streams, or the connection
	}
	for range hosts {
		<-done
	}
	peak := peakRSS(t, cmd.Process.Pid)
	t.Logf("peak RSS %d KiB, %d KiB before", peak>>10, before>>10)
	if limit := 96 << 20; peak > limit {
		t.Errorf("the agent has had %d bytes, more than %d", peak, limit)
	}
}
