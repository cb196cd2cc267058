package plain_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/bench/internal/plain"
)

func run(t *testing.T) net.Conn {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() { // ends with the connection
		if nc, err := ln.Accept(); err == nil {
			defer nc.Close()
			_ = plain.Run(nc)
		}
	}()
	nc, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

func TestOutputCountsWhatTheCommandWrites(t *testing.T) {
	n, err := plain.Output(run(t), plain.Request{
		Argv: []string{"/usr/bin/head", "-c", "300000", "/dev/zero"}, Pipe: 64 << 10, Buffer: 32 << 10,
	})
	if err != nil || n != 300000 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestInputWaitsForTheCommand(t *testing.T) {
	const size = 300000
	err := plain.Input(run(t), plain.Request{
		Argv: []string{"/usr/bin/head", "-c", "300000"}, Bytes: size, Pipe: 64 << 10, Buffer: 32 << 10,
	}, strings.NewReader(strings.Repeat("x", size)), 10000)
	if err != nil {
		t.Error(err)
	}
}

func TestAnswersAreAsLongAsAskedFor(t *testing.T) {
	ours, theirs := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- plain.Answer(theirs) }() // ends with the pipe
	for _, size := range []int64{0, 1, 64 << 10, 64<<10 + 1} {
		if err := plain.Ask(ours, size); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	_ = ours.Close()
	if err := <-served; err == nil {
		t.Error("it went on after the end of the connection")
	}
}
