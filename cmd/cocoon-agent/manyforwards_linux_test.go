package main

import (
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// echoEach answers each byte of each connection of a service. It holds one descriptor for a
// connection.
func (s *service) echoEach() {
	for {
		nc, err := s.ln.Accept()
		if err != nil {
			return
		}
		go func() { // ends with its connection
			defer nc.Close()
			b := make([]byte, 1)
			for {
				if _, err := io.ReadFull(nc, b); err != nil {
					return
				}
				_, _ = nc.Write(b)
			}
		}()
	}
}

func askEcho(nc net.Conn) error {
	if _, err := nc.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(nc, make([]byte, 1))
	return err
}

// Bounds of the agent: at rest each takes 10 KiB, and threads were 24 on two CPUs.
func TestEightThousandForwardsBesideExecs(t *testing.T) {
	const conns, execs, each, threads = 8000, 100, 16 << 10, 32
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	if raceEnabled {
		t.Skip("the race detector has memory of its own")
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil || files.Max < 2*conns+1000 {
		t.Skipf("the test needs %d descriptors, and may have %d (%v)", 2*conns+1000, files.Max, err)
	}
	target, cmd := agentBy(t, func(cmd *exec.Cmd) *exec.Cmd {
		cmd.Args = append(cmd.Args, "--max-connection-forwards=8192", "--max-connection-streams=16384", "--max-streams=20000")
		return cmd
	})
	kill := []string{"kill", "--target", target, "-s", "KILL"}
	t.Cleanup(func() { _ = program(t, kill...).Run() }) // they would outlive the agent
	for range execs {
		out, err := program(t, "client", "--detach", "--target", target, "--", "sleep", "1000").CombinedOutput()
		if err != nil {
			t.Fatalf("client --detach: %v: %s", err, out)
		}
		kill = append(kill, strings.TrimSpace(string(out)))
	}
	s := newService(t)
	go s.echoEach() // ends with the listener
	addresses, _, _ := startForward(t, target, "-L127.0.0.1:0:"+s.ln.Addr().String())
	before := peakRSS(t, cmd.Process.Pid)
	held := make([]net.Conn, conns)
	defer func() {
		for _, nc := range held {
			if nc != nil {
				_ = nc.Close()
			}
		}
	}()
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := worker; i < conns; i += 8 {
				nc, err := net.Dial("tcp", addresses[0])
				if err == nil {
					held[i], err = nc, askEcho(nc)
				}
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
			}
		})
	}
	all.Wait()
	size, n := (peakRSS(t, cmd.Process.Pid)-before)/conns, threadsOf(t, cmd)
	t.Logf("%d bytes each, %d threads", size, n)
	if size > each || n > threads {
		t.Errorf("%d forwards take %d bytes each and the agent %d threads, want at most %d and %d", conns, size, n, each, threads)
	}
	for i, nc := range held {
		if nc == nil {
			continue
		}
		if err := askEcho(nc); err != nil {
			t.Fatalf("connection %d, later: %v", i, err)
		}
	}
	out, err := program(t, "client", "--target", target, "--", "echo", "on").Output()
	if err != nil || strings.TrimSpace(string(out)) != "on" {
		t.Errorf("a command beside them = %q, %v, want on", out, err)
	}
}
