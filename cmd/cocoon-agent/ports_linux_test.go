package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A way leads from a client to a service.
type way struct {
	to     func(*service) (end, error)
	exited func(end) string // what the client sees of a break
}

// An end is the client's end of a connection.
type end interface {
	io.ReadWriter
	CloseWrite() error
	SetWriteDeadline(time.Time) error
	reset()
	close()
}

// A service is a listener, and the connection that comes to it.
type service struct {
	t  *testing.T
	ln *net.TCPListener
}

func newService(t *testing.T) *service {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return &service{t, ln}
}

func (s *service) accept() *net.TCPConn {
	s.t.Helper()
	_ = s.ln.SetDeadline(time.Now().Add(patience))
	nc, err := s.ln.AcceptTCP()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return nc
}

// A socketEnd is that of a TCP connection.
type socketEnd struct{ *net.TCPConn }

func (e socketEnd) reset() { _ = e.SetLinger(0); _ = e.Close() }
func (e socketEnd) close() { _ = e.Close() }

func dialTCP(address string) (end, error) {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	return socketEnd{nc.(*net.TCPConn)}, nil
}

// A programEnd is the standard streams of a program.
type programEnd struct {
	cmd *exec.Cmd
	in  *os.File
	out io.Reader
}

func (e programEnd) Read(p []byte) (int, error)         { return e.out.Read(p) }
func (e programEnd) Write(p []byte) (int, error)        { return e.in.Write(p) }
func (e programEnd) CloseWrite() error                  { return e.in.Close() }
func (e programEnd) SetWriteDeadline(t time.Time) error { return e.in.SetWriteDeadline(t) }
func (e programEnd) reset()                             { _ = e.cmd.Process.Kill() }
func (e programEnd) close()                             { _, _ = e.in.Close(), e.cmd.Process.Kill() }

// startForward starts "forward" with args, and returns the addresses that are bound.
func startForward(t *testing.T, target string, args ...string) (addresses []string, cmd *exec.Cmd, stderr *bufio.Reader) {
	t.Helper()
	cmd = program(t, append([]string{"forward", "--json", "--target", target}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	lines := json.NewDecoder(out)
	for range args {
		var line boundJSON
		if err := lines.Decode(&line); err != nil {
			text, _ := io.ReadAll(said)
			t.Fatalf("forward %v prints %v, %s", args, err, text)
		}
		if line.Reverse {
			line.Local = line.Remote
		}
		addresses = append(addresses, line.Local)
	}
	return addresses, cmd, bufio.NewReader(said)
}

// ways are the columns of docs/ports.md.
func ways(t *testing.T) map[string]way {
	t.Helper()
	target, _ := agentBy(t, func(cmd *exec.Cmd) *exec.Cmd {
		cmd.Args = append(cmd.Args, "--allow-listen", "tcp:*")
		return cmd
	})
	broken := func(e end) string { return readBreak(e) }
	return map[string]way{
		"direct": {func(s *service) (end, error) { return dialTCP(s.ln.Addr().String()) }, broken},
		"forward": {func(s *service) (end, error) {
			addresses, _, _ := startForward(t, target, "-L127.0.0.1:0:"+s.ln.Addr().String())
			return dialTCP(addresses[0])
		}, broken},
		"-R": {func(s *service) (end, error) {
			addresses, _, _ := startForward(t, target, "-R127.0.0.1:0:"+s.ln.Addr().String())
			return dialTCP(addresses[0])
		}, broken},
		"proxy": {func(s *service) (end, error) {
			cmd := program(t, "proxy", "--target", target, s.ln.Addr().String())
			theirs, in, err := os.Pipe()
			if err != nil {
				return nil, err
			}
			defer theirs.Close()
			cmd.Stdin = theirs
			out, err := cmd.StdoutPipe()
			if err != nil {
				return nil, err
			}
			start(t, cmd)
			return programEnd{cmd, in, out}, nil
		}, func(e end) string {
			_, _ = io.Copy(io.Discard, e)
			_ = e.(programEnd).cmd.Wait()
			return fmt.Sprintf("exits with %d", e.(programEnd).cmd.ProcessState.ExitCode())
		}},
	}
}

// readBreak says how reading ends.
func readBreak(r io.Reader) string {
	switch _, err := io.Copy(io.Discard, r); {
	case err == nil:
		return "end"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	default:
		return err.Error()
	}
}

// semantics are the rows: what happens, and what is seen of it.
var semantics = map[string]func(*testing.T, way) string{
	"the client ends its direction": func(t *testing.T, w way) string {
		s := newService(t)
		e := reach(t, w, s)
		nc := s.accept()
		_, _ = io.WriteString(e, "question")
		_ = e.CloseWrite()
		if got, err := io.ReadAll(nc); string(got) != "question" || err != nil {
			return fmt.Sprintf("service reads %q, %v", got, err)
		}
		_, _ = io.WriteString(nc, "answer")
		_ = nc.Close()
		got, err := io.ReadAll(e)
		if string(got) != "answer" || err != nil {
			return fmt.Sprintf("client reads %q, %v", got, err)
		}
		return "end, answer arrives"
	},
	"the service ends its direction": func(t *testing.T, w way) string {
		s := newService(t)
		e := reach(t, w, s)
		nc := s.accept()
		_ = nc.CloseWrite()
		if seen := w.exited(e); seen != "end" {
			return "end, " + seen
		}
		_, _ = io.WriteString(e, "upload")
		_ = e.CloseWrite()
		if got, err := io.ReadAll(nc); string(got) != "upload" || err != nil {
			return fmt.Sprintf("service reads %q, %v", got, err)
		}
		return "end, upload arrives"
	},
	"the service resets": func(t *testing.T, w way) string {
		s := newService(t)
		e := reach(t, w, s)
		nc := s.accept()
		_ = nc.SetLinger(0)
		_ = nc.Close()
		return w.exited(e)
	},
	"the client resets, or is killed": func(t *testing.T, w way) string {
		s := newService(t)
		e := reach(t, w, s)
		nc := s.accept()
		e.reset()
		return readBreak(nc)
	},
	"nobody serves the address": func(t *testing.T, w way) string {
		s := newService(t)
		_ = s.ln.Close()
		e, err := w.to(s)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return "refused"
		}
		if err != nil {
			return err.Error()
		}
		defer e.close()
		return w.exited(e)
	},
	"the service reads nothing": func(t *testing.T, w way) string {
		s := newService(t)
		e := reach(t, w, s)
		s.accept()
		const most = 32 << 20
		sent, piece := 0, make([]byte, 64<<10)
		for sent < most {
			_ = e.SetWriteDeadline(time.Now().Add(2 * time.Second))
			n, err := e.Write(piece)
			sent += n
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Logf("%d KiB are taken", sent>>10)
				return "held up"
			}
			if err != nil {
				return err.Error()
			}
		}
		return fmt.Sprintf("takes %d bytes", sent)
	},
}

// reach connects to a service, until the end of the test.
func reach(t *testing.T, w way, s *service) end {
	t.Helper()
	e, err := w.to(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.close)
	return e
}

func TestPortsPageHoldsEachSemantic(t *testing.T) {
	columns, rows := tableOf(t, "../../docs/ports.md", "| event |")
	if len(rows) != len(semantics) {
		t.Errorf("docs/ports.md has %d rows, and the test %d", len(rows), len(semantics))
	}
	all := ways(t)
	for _, row := range rows {
		see, ok := semantics[row[0]]
		if !ok {
			t.Errorf("docs/ports.md has the row %q, and the test does not", row[0])
			continue
		}
		for i, column := range columns[1:] {
			t.Run(column+"/"+row[0], func(t *testing.T) {
				if got := see(t, all[column]); got != row[i+1] {
					t.Errorf("%s, %s: got %q, want %q", column, row[0], got, row[i+1])
				}
			})
		}
	}
}

// tableOf returns the columns and rows of a table of a page.
func tableOf(t *testing.T, page, head string) (columns []string, rows [][]string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "\n"+head)
	if !ok {
		t.Fatalf("%s has no table with %q", page, head)
	}
	for line := range strings.Lines(head + table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|\n"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		rows = append(rows, cells)
	}
	return rows[0], rows[2:]
}
