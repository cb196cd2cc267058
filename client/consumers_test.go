//go:build linux

package client_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	vmtest "github.com/cocoonstack/cocoon-agent/client/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/session"
)

// These tests use Run and Reseed as programs do that were written for v0.2.0: with a
// connection of their own.

// A frame is a line of version 1 (docs/protocol.md, section 8).
type frame struct {
	Type           string            `json:"type"`
	Argv           []string          `json:"argv,omitempty"`
	Env            map[string]string `json:"env,omitempty"`
	Data           []byte            `json:"data,omitempty"`
	PID            int               `json:"pid,omitempty"`
	ExitCode       int               `json:"exit_code,omitempty"`
	Message        string            `json:"message,omitempty"`
	RegenMachineID bool              `json:"regen_machine_id,omitempty"`
}

// record plays an agent of v0.2.0 over conn. It answers the first frame with the first
// of says, and the end of input with the others, and closes the connection.
func record(conn io.ReadWriteCloser, says ...frame) (heard []frame) {
	defer conn.Close()
	lines, out := json.NewDecoder(conn), json.NewEncoder(conn)
	for {
		var f frame
		if lines.Decode(&f) != nil {
			return heard
		}
		heard = append(heard, f)
		switch f.Type {
		case "exec":
			if len(says) > 0 && out.Encode(says[0]) == nil && says[0].Type == "started" {
				says = says[1:]
				continue
			}
			return heard
		case "stdin":
			continue
		case "stdin_close", "reseed":
		default:
			says = []frame{{Type: "error", Message: fmt.Sprintf("expected first frame type exec or reseed, got %q", f.Type)}}
		}
		for _, f := range says {
			_ = out.Encode(f) // to a client that may have gone
		}
		return heard
	}
}

// A recorded is an agent that record plays, once, and how a program connects to it.
type recorded func(t *testing.T, says ...frame) (conn io.ReadWriteCloser, heard <-chan []frame)

var recordedAgents = map[string]recorded{
	"pipe": func(_ *testing.T, says ...frame) (io.ReadWriteCloser, <-chan []frame) {
		near, far := net.Pipe()
		heard := make(chan []frame, 1)
		go func() { heard <- record(far, says...) }() // ends with the connection
		return near, heard
	},
	"hvsock": func(t *testing.T, says ...frame) (io.ReadWriteCloser, <-chan []frame) {
		t.Helper()
		ln := agenttest.Listen(t, "unix")
		heard := make(chan []frame, 1)
		go func() { // ends with the connection
			far, err := ln.Accept()
			if err == nil {
				heard <- record(far, says...)
			}
		}()
		return byHand(t, startVMM(t, ln.Addr().String())), heard
	},
}

// byHand connects to port 1024 of a VM as a program does that has only the VMM's socket.
func byHand(t *testing.T, v *vmtest.VM) io.ReadWriteCloser {
	t.Helper()
	conn, err := net.Dial("unix", strings.TrimSuffix(strings.TrimPrefix(v.Target, "hvsock://"), ":1024"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "CONNECT 1024\n"); err != nil {
		t.Fatal(err)
	}
	for b := make([]byte, 1); b[0] != '\n'; {
		if _, err := conn.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	return conn
}

func TestRunWithARecordedAgent(t *testing.T) {
	begins := frame{Type: "started", PID: 7}
	for name, agent := range recordedAgents {
		t.Run(name, func(t *testing.T) {
			conn, heard := agent(t, begins,
				frame{Type: "stdout", Data: []byte("out ")}, frame{Type: "stderr", Data: []byte("err")},
				frame{Type: "later"}, frame{Type: "stdout", Data: []byte("put")}, frame{Type: "exit", ExitCode: 3})
			var stdout, stderr bytes.Buffer
			code, err := client.Run(patiently(t), conn, []string{"cmd", "arg"}, map[string]string{"K": "v"}, strings.NewReader("input"), &stdout, &stderr)
			if code != 3 || err != nil || stdout.String() != "out put" || stderr.String() != "err" {
				t.Errorf("Run = %d, %v, stdout %q, stderr %q", code, err, &stdout, &stderr)
			}
			got := fmt.Sprint(<-heard)
			if want := fmt.Sprint([]frame{
				{Type: "exec", Argv: []string{"cmd", "arg"}, Env: map[string]string{"K": "v"}}, {Type: "stdin", Data: []byte("input")}, {Type: "stdin_close"},
			}); got != want {
				t.Errorf("the agent has heard %v, want %v", got, want)
			}
		})
		t.Run(name+"/without streams", func(t *testing.T) {
			conn, heard := agent(t, begins, frame{Type: "stdout", Data: []byte("x")}, frame{Type: "exit"})
			if code, err := client.Run(patiently(t), conn, []string{"cmd"}, nil, nil, nil, nil); code != 0 || err != nil {
				t.Errorf("Run = %d, %v", code, err)
			}
			if got := <-heard; len(got) != 2 || got[0].Env != nil || got[1].Type != "stdin_close" {
				t.Errorf("the agent has heard %v", got)
			}
		})
		t.Run(name+"/refused", func(t *testing.T) {
			conn, _ := agent(t, frame{Type: "error", Message: "exec: start cmd: no such file"})
			code, err := client.Run(patiently(t), conn, []string{"cmd"}, nil, nil, nil, nil)
			if code != -1 || err == nil || !strings.Contains(err.Error(), "start cmd: no such file") {
				t.Errorf("Run = %d, %v", code, err)
			}
			wantKind(t, err, client.Internal)
		})
		t.Run(name+"/cut before the start", func(t *testing.T) {
			conn, _ := agent(t)
			code, err := client.Run(patiently(t), conn, []string{"cmd"}, nil, nil, nil, nil)
			if _, ok := errors.AsType[*client.MaybeStartedError](err); code != -1 || !ok || !errors.Is(err, client.ErrLost) {
				t.Errorf("Run = %d, %v (%T), want a MaybeStartedError", code, err, err)
			}
		})
		t.Run(name+"/cut before the exit", func(t *testing.T) {
			conn, _ := agent(t, begins, frame{Type: "stdout", Data: []byte("x")})
			state, err := client.RunWith(patiently(t), conn, client.RunOptions{Args: []string{"cmd"}})
			lost, ok := errors.AsType[*client.LostExitError](err)
			if state != nil || !ok || lost.PID != 7 || !errors.Is(err, client.ErrLost) {
				t.Errorf("RunWith = %v, %v (%T), want a LostExitError", state, err, err)
			}
		})
	}
}

func TestReseedWithARecordedAgent(t *testing.T) {
	for name, agent := range recordedAgents {
		for what, tc := range map[string]struct {
			entropy   []byte
			machineID bool
			says      frame
			err       string
		}{
			"success":     {[]byte("host-entropy"), true, frame{Type: "exit"}, ""},
			"no entropy":  {nil, false, frame{Type: "exit"}, ""},
			"error":       {nil, false, frame{Type: "error", Message: "boom"}, "boom"},
			"not success": {[]byte("e"), false, frame{Type: "exit", ExitCode: 1}, "exit code 1"},
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				conn, heard := agent(t, tc.says)
				err := client.Reseed(patiently(t), conn, tc.entropy, tc.machineID)
				if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
					t.Errorf("Reseed = %v, want %q", err, tc.err)
				}
				got := <-heard
				if len(got) != 1 || got[0].Type != "reseed" || !bytes.Equal(got[0].Data, tc.entropy) || got[0].RegenMachineID != tc.machineID {
					t.Errorf("the agent has heard %+v", got)
				}
			})
		}
	}
}

func TestRunOverAVMMsSocket(t *testing.T) {
	a := agenttest.StartWith(t, func(c *session.Config) { c.Policy.Denied = []string{"reseed"} })
	v := startVMM(t, a.Path)
	input := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for _, size := range []int{0, 1, len(input)} {
		var stdout bytes.Buffer
		code, err := client.Run(patiently(t), byHand(t, v), []string{"sh", "-c", "cat; exit $CODE"}, map[string]string{"CODE": "5"}, bytes.NewReader(input[:size]), &stdout, nil)
		if code != 5 || err != nil || !bytes.Equal(stdout.Bytes(), input[:size]) {
			t.Errorf("Run = %d, %v, %d bytes of %d", code, err, stdout.Len(), size)
		}
	}
	if log := a.Log.String(); strings.Count(log, `"protocol":1`) == 0 {
		t.Errorf("another version was spoken: %s", log)
	}
	if err := client.Reseed(patiently(t), byHand(t, v), nil, false); err == nil || !strings.Contains(err.Error(), "reseed: not allowed by this agent's policy") {
		t.Errorf("Reseed = %v, want what the agent says", err)
	}
}

// startLine is a command that says its pid and does not end.
var startLine = []string{"sh", "-c", "echo $$; exec sleep 1000"}

func TestRunThatIsCutOffEndsItsCommand(t *testing.T) {
	for name, cut := range map[string]func(v *vmtest.VM, conn io.Closer, cancel func()){
		"VMM":        func(v *vmtest.VM, _ io.Closer, _ func()) { v.Cut() },
		"connection": func(_ *vmtest.VM, conn io.Closer, _ func()) { _ = conn.Close() },
		"context":    func(_ *vmtest.VM, _ io.Closer, cancel func()) { cancel() },
	} {
		for _, p := range []client.Protocol{client.ProtocolAuto, client.Protocol2} {
			t.Run(fmt.Sprintf("%s/%d", name, p), func(t *testing.T) {
				v := startVMM(t, agenttest.Start(t).Path)
				conn := byHand(t, v)
				ctx, cancel := context.WithCancel(patiently(t))
				defer cancel()
				r, w := io.Pipe()
				result := make(chan error, 1)
				go func() { // ends by cut
					_, err := client.RunWith(ctx, conn, client.RunOptions{Args: startLine, Stdout: w, Protocol: p})
					result <- err
				}()
				pid, err := bufio.NewReader(r).ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				cut(v, conn, cancel)
				err = <-result
				lost, ok := errors.AsType[*client.LostExitError](err)
				switch {
				case name == "context" && !errors.Is(err, context.Canceled),
					name != "context" && (!ok || fmt.Sprintln(lost.PID) != pid || !errors.Is(err, client.ErrLost)):
					t.Errorf("RunWith = %v (%T)", err, err)
				}
				agenttest.Eventually(t, "the command's end", func() bool { return gone(strings.TrimSpace(pid)) })
			})
		}
	}
}

func TestUnsupportedVersionRunsNothing(t *testing.T) {
	t.Run("2", func(t *testing.T) {
		conn, heard := recordedAgents["hvsock"](t)
		state, err := client.RunWith(patiently(t), conn, client.RunOptions{Args: []string{"true"}, Protocol: client.Protocol2})
		if state != nil || !errors.Is(err, client.ErrNotSpoken) || !strings.Contains(err.Error(), "nothing has run") {
			t.Errorf("RunWith = %v, %v, want ErrNotSpoken and that nothing has run", state, err)
		}
		if got := <-heard; len(got) != 1 || got[0].Type != "cocoon-agent/2" {
			t.Errorf("the agent has heard %+v", got)
		}
	})
	t.Run("1", func(t *testing.T) {
		a := agenttest.StartWith(t, func(c *session.Config) { c.DisableV1 = true })
		code, err := client.Run(patiently(t), a.Dial(t), []string{"true"}, nil, nil, nil, nil)
		if code != -1 || !errors.Is(err, client.ErrNotSpoken) || !strings.Contains(err.Error(), "nothing has run") || !strings.Contains(err.Error(), "--disable-v1") {
			t.Errorf("Run = %d, %v, want ErrNotSpoken and that nothing has run", code, err)
		}
		err = client.Reseed(patiently(t), a.Dial(t), nil, false)
		if !errors.Is(err, client.ErrNotSpoken) || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("Reseed = %v, want ErrNotSpoken and that nothing was changed", err)
		}
		state, err := client.RunWith(patiently(t), a.Dial(t), client.RunOptions{Args: []string{"sh", "-c", "exit 4"}, Protocol: client.Protocol2})
		if _, ok := errors.AsType[*client.ExitError](err); !ok || state == nil || state.ExitCode() != 4 {
			t.Errorf("RunWith version 2 = %v, %v", state, err)
		}
		if n := strings.Count(a.Log.String(), "exec started"); n != 1 {
			t.Errorf("%d commands have run, want 1", n)
		}
	})
}
