package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// speak sends a line through a connection to a service that echoes it.
func speak(t *testing.T, network, address string, s *service) {
	t.Helper()
	nc, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	go func() { // ends with the connection
		guest, err := s.ln.Accept()
		if err == nil {
			_, _ = io.Copy(guest, guest)
			_ = guest.Close()
		}
	}()
	_, _ = io.WriteString(nc, "hello\n")
	_ = nc.(interface{ CloseWrite() error }).CloseWrite()
	if got, err := io.ReadAll(nc); string(got) != "hello\n" || err != nil {
		t.Fatalf("through %s: %q, %v, want %q", address, got, err, "hello\n")
	}
}

func TestForwardRefusedConnEndsNoOther(t *testing.T) {
	target, _ := agent(t)
	s, nobody := newService(t), newService(t)
	_ = nobody.ln.Close()
	addresses, _, said := startForward(t, target, "-L127.0.0.1:0:"+s.ln.Addr().String(), "-L127.0.0.1:0:"+nobody.ln.Addr().String())
	open, err := dialTCP(addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	defer open.close()
	guest := s.accept()
	for range 3 {
		e, err := dialTCP(addresses[1])
		switch {
		case err == nil:
			if got := readBreak(e); got != "reset" {
				t.Errorf("a refused connection ends with %q, want a reset", got)
			}
			e.close()
		case !errors.Is(err, syscall.ECONNRESET): // a dial that takes long sees it, too
			t.Fatal(err)
		}
		line, err := said.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "cocoon-agent: "+addresses[1]+": connection refused: ") || !strings.Contains(line, "no service listens") {
			t.Errorf("standard error has %q, %v, want a line with the address and the reason", line, err)
		}
	}
	speak(t, "tcp", addresses[0], s)
	_, _ = io.WriteString(open, "still here")
	_ = open.CloseWrite()
	if got, err := io.ReadAll(guest); string(got) != "still here" || err != nil {
		t.Errorf("the connection that was open before = %q, %v", got, err)
	}
}

func TestForwardOverUnixSockets(t *testing.T) {
	target, _ := agent(t)
	s := newService(t)
	dir, err := os.MkdirTemp("", "fwd") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	addresses, cmd, _ := startForward(t, target, "-L"+dir+"/h:"+s.ln.Addr().String(), "-L"+dir+"/again:"+dir+"/h")
	for _, address := range addresses { // the second one leads to the first one
		speak(t, "unix", address, s)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("forward after SIGTERM: %v, want status 0", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

func TestForwardSurvivesALostConnection(t *testing.T) {
	target, serving := agent(t)
	s := newService(t)
	addresses, _, said := startForward(t, target, "-L127.0.0.1:0:"+s.ln.Addr().String())
	e, err := dialTCP(addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	s.accept()
	_ = serving.Process.Kill()
	_ = serving.Wait()
	if got := readBreak(e); got != "reset" {
		t.Errorf("an open connection of a lost agent ends with %q, want a reset", got)
	}
	next := program(t, "serve", "--listen", target)
	log, err := next.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, next)
	if err := listens(log); err != nil {
		t.Fatal(err)
	}
	speak(t, "tcp", addresses[0], s)
	if line, err := said.ReadString('\n'); line != "cocoon-agent: reconnected to "+target+"\n" || err != nil {
		t.Errorf("standard error has %q, %v, want reconnected", line, err)
	}
}

func TestForwardListensAgainInTheGuest(t *testing.T) {
	allow := []string{"--allow-listen", "tcp:*"}
	target, serving := agentBy(t, func(cmd *exec.Cmd) *exec.Cmd { cmd.Args = append(cmd.Args, allow...); return cmd })
	s := newService(t)
	addresses, _, said := startForward(t, target, "-R127.0.0.1:0:"+s.ln.Addr().String())
	speak(t, "tcp", addresses[0], s)
	_ = serving.Process.Kill()
	_ = serving.Wait()
	next := program(t, append([]string{"serve", "--listen", target}, allow...)...)
	log, err := next.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, next)
	if err := listens(log); err != nil {
		t.Fatal(err)
	}
	if line, err := said.ReadString('\n'); line != "cocoon-agent: reconnected to "+target+"\n" || err != nil {
		t.Errorf("standard error has %q, %v, want reconnected", line, err)
	}
	eventually(t, "the guest listens again", func() bool {
		nc, err := net.Dial("tcp", addresses[0])
		if err == nil {
			_ = nc.Close()
			_ = s.accept().Close()
		}
		return err == nil
	})
	speak(t, "tcp", addresses[0], s)
	_ = s.ln.Close()
	e, err := dialTCP(addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	if got := readBreak(e); got != "reset" {
		t.Errorf("a connection that the host refuses ends with %q, want a reset", got)
	}
	if line, err := said.ReadString('\n'); !strings.Contains(line, "connection refused") || err != nil {
		t.Errorf("standard error has %q, %v, want a line", line, err)
	}
}

func TestForwardWaitsForATakenPort(t *testing.T) {
	allow := []string{"--allow-listen", "tcp:*"}
	target, serving := agentBy(t, func(cmd *exec.Cmd) *exec.Cmd { cmd.Args = append(cmd.Args, allow...); return cmd })
	s := newService(t)
	addresses, _, said := startForward(t, target, "-R127.0.0.1:0:"+s.ln.Addr().String())
	_ = serving.Process.Kill()
	_ = serving.Wait()
	thief, err := net.Listen("tcp", addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	next := program(t, append([]string{"serve", "--listen", target}, allow...)...)
	log, err := next.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, next)
	if err := listens(log); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"reconnected to ", addresses[0] + ": trying again to listen in the guest: "} {
		if line, err := said.ReadString('\n'); !strings.Contains(line, want) || err != nil {
			t.Errorf("standard error has %q, %v, want %q", line, err, want)
		}
	}
	_ = thief.Close()
	eventually(t, "the guest listens again", func() bool {
		nc, err := net.Dial("tcp", addresses[0])
		if err == nil {
			_ = nc.Close()
			_ = s.accept().Close()
		}
		return err == nil
	})
	speak(t, "tcp", addresses[0], s)
}

// The client has read all that came before it goes, so its end is a clean one.
func TestForwardEndsAnEndlessService(t *testing.T) {
	target, _ := agent(t)
	s := newService(t)
	addresses, _, _ := startForward(t, target, "-L127.0.0.1:0:"+s.ln.Addr().String())
	e, err := dialTCP(addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	guest := s.accept()
	e.close()
	if _, err := io.Copy(guest, endlessReader{}); err == nil {
		t.Error("the service sends for ever")
	}
}

type endlessReader struct{}

func (endlessReader) Read(p []byte) (int, error) { return len(p), nil }

func TestForwardBindsAllOrNothing(t *testing.T) {
	target, _ := agent(t)
	s := newService(t)
	var stderr bytes.Buffer
	cmd := program(t, "forward", "--target", target, "0:80", "-L"+s.ln.Addr().String()+":localhost:80")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil || cmd.ProcessState.ExitCode() != statusFailure || len(out) > 0 || !strings.Contains(stderr.String(), "address already in use") {
		t.Errorf("forward with a taken port = %v with %q and %q, want status 1 and the reason", err, out, &stderr)
	}
}
