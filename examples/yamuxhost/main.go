// Command yamuxhost runs one command through an agent on a Unix socket. It is a
// whole host of protocol version 2, written from docs/protocol.md on
// hashicorp/yamux and msgpack, with nothing of this project:
//
//	yamuxhost /run/agent.sock uname -a
//
// The numbers in its comments are those of docs/protocol.md's sections.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"github.com/hashicorp/yamux"
	"github.com/vmihailenco/msgpack/v5"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: yamuxhost SOCKET COMMAND [ARGUMENT…]")
		os.Exit(255)
	}
	code, err := run(os.Args[1], os.Args[2:], os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "yamuxhost:", err)
		os.Exit(255)
	}
	os.Exit(code)
}

// A request is what this host asks for, with type and id first (3).
type request struct {
	Type   string   `msgpack:"type"`
	ID     uint64   `msgpack:"id,omitempty"`
	Min    int      `msgpack:"min,omitempty"`
	Max    int      `msgpack:"max,omitempty"`
	Argv   []string `msgpack:"argv,omitempty"`
	Stdin  uint32   `msgpack:"stdin,omitempty"`
	Stdout uint32   `msgpack:"stdout,omitempty"`
	Stderr uint32   `msgpack:"stderr,omitempty"`
}

// An event is what the agent says, as far as this host is concerned. Keys that it
// does not know are ignored (3).
type event struct {
	Type        string `msgpack:"type"`
	ID          uint64 `msgpack:"id"`
	Min         int    `msgpack:"min"`
	Max         int    `msgpack:"max"`
	Kind        string `msgpack:"kind"`
	Message     string `msgpack:"message"`
	Code        int    `msgpack:"code"`
	Signal      int    `msgpack:"signal_number"`
	Reason      string `msgpack:"reason"`
	StdoutBytes int64  `msgpack:"stdout_bytes"`
	StderrBytes int64  `msgpack:"stderr_bytes"`
}

// A host is a connection to an agent.
type host struct {
	session *yamux.Session
	control *yamux.Stream
}

func run(socket string, argv []string, stdin io.Reader, stdout, stderr io.Writer) (code int, err error) {
	h, err := dial(socket)
	if err != nil {
		return 0, err
	}
	defer h.session.Close()
	var streams [3]*yamux.Stream
	for i := range streams {
		if streams[i], err = h.session.OpenStream(); err != nil {
			return 0, err
		}
	}
	if err := h.send(request{
		Type: "exec", ID: 1, Argv: argv,
		Stdin: streams[0].StreamID(), Stdout: streams[1].StreamID(), Stderr: streams[2].StreamID(),
	}); err != nil {
		return 0, err
	}
	go func() { // ends with its reader, or the session
		_, _ = io.Copy(streams[0], stdin)
		_ = streams[0].Close() // the end of input (5)
	}()
	var copying sync.WaitGroup
	var copied [2]int64
	for i, to := range []io.Writer{stdout, stderr} {
		copying.Go(func() { copied[i], _ = io.Copy(to, streams[i+1]) })
	}
	exited, err := h.await(1)
	if err != nil {
		return 0, err
	}
	copying.Wait()
	return status(exited, copied)
}

// dial brings a connection to where requests can be sent (2).
func dial(socket string) (*host, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, `{"type":"cocoon-agent/2"}`+"\n"); err != nil {
		return nil, err
	}
	config := yamux.DefaultConfig()
	config.EnableKeepAlive = false // a VM that is paused does not answer, and is not gone
	config.StreamOpenTimeout = 0   // for the same reason
	config.StreamCloseTimeout = 0
	config.LogOutput = io.Discard
	session, err := yamux.Client(conn, config)
	if err != nil {
		return nil, err
	}
	h := &host{session: session}
	if h.control, err = session.OpenStream(); err != nil {
		return nil, err
	}
	if err := h.send(request{Type: "hello", Min: 2, Max: 2}); err != nil {
		return nil, err
	}
	hello, err := h.receive()
	switch {
	case err != nil:
		return nil, fmt.Errorf("no greeting: %w", err)
	case hello.Type != "hello" || hello.Min > 2 || hello.Max < 2:
		return nil, fmt.Errorf("the agent begins with %q and speaks %d to %d", hello.Type, hello.Min, hello.Max)
	}
	return h, nil
}

// send writes a message: its length in 4 bytes, and a map (3).
func (h *host) send(r request) error {
	body, err := msgpack.Marshal(r)
	if err != nil {
		return err
	}
	_, err = h.control.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}

const maxMessage = 4 << 20

func (h *host) receive() (e event, err error) {
	var length [4]byte
	if _, err = io.ReadFull(h.control, length[:]); err != nil {
		return e, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxMessage {
		return e, fmt.Errorf("a message of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(h.control, body); err != nil {
		return e, err
	}
	err = msgpack.Unmarshal(body, &e)
	return e, err
}

// await returns the end of an exec.
func (h *host) await(id uint64) (event, error) {
	for {
		e, err := h.receive()
		switch {
		case err != nil:
			return e, fmt.Errorf("the connection was lost, and the command may have run: %w", err)
		case e.Type == "error" && (e.ID == id || e.ID == 0):
			return e, fmt.Errorf("%s: %s", e.Kind, e.Message)
		case e.Type == "exited" && e.ID == id:
			return e, nil
		}
	}
}

// status is the exit status for an end. Success takes more than code 0 (6).
func status(e event, copied [2]int64) (int, error) {
	switch {
	case copied != [2]int64{e.StdoutBytes, e.StderrBytes}:
		return 0, fmt.Errorf("received %d bytes of output, but the agent sent %d and %d", copied, e.StdoutBytes, e.StderrBytes)
	case e.Reason == "signal" && e.Signal > 0 && e.Signal < 128:
		return 128 + e.Signal, nil
	case e.Reason == "exit" && e.Code >= 0 && e.Code < 256:
		return e.Code, nil
	default:
		return 0, errors.New("the command was ended: " + e.Reason)
	}
}
