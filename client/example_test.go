//go:build linux

package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/cocoonstack/cocoon-agent/client"
)

// target is what a program has from its configuration: vsock://3:1024, say.
var target string

// One command: its output, and what an error says.
func ExampleCmd_Output() {
	ctx := context.Background()
	c, err := client.Dial(ctx, target)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	out, err := c.CommandContext(ctx, "printf", "%s\n", "hello").Output()
	fmt.Printf("%s%v\n", out, err)

	_, err = c.CommandContext(ctx, "sh", "-c", "echo 'no space left' >&2; exit 7").Output()
	if exit, ok := errors.AsType[*client.ExitError](err); ok {
		fmt.Printf("%v, saying: %s", exit, exit.Stderr)
	}
	_, err = c.CommandContext(ctx, "no-such-command").Output()
	if remote, ok := errors.AsType[*client.RemoteError](err); ok {
		fmt.Println(remote.Kind)
	}
	// Output:
	// hello
	// <nil>
	// exit status 7, saying: no space left
	// not_found
}

// One command over a connection that the program has made, in version 2 if the agent
// speaks it.
func ExampleRunWith() {
	ctx := context.Background()
	t, err := client.ParseTarget(target)
	if err != nil {
		log.Fatal(err)
	}
	for _, protocol := range []client.Protocol{client.Protocol2, client.Protocol1} {
		conn, err := t.Dial(ctx)
		if err != nil {
			log.Fatal(err)
		}
		state, err := client.RunWith(ctx, conn, client.RunOptions{
			Args: []string{"sh", "-c", "echo $WORD; exit 7"}, Env: map[string]string{"WORD": "hello"},
			Stdout: os.Stdout, Protocol: protocol,
		})
		if errors.Is(err, client.ErrNotSpoken) { // nothing has run
			continue
		}
		fmt.Println(state, err)
		break
	}
	// Output:
	// hello
	// exit status 7 exit status 7
}

// Streams: what is written to the command comes back in capitals, line by line.
func ExampleCmd_StdoutPipe() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.Dial(ctx, target)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	cmd := c.CommandContext(ctx, "sed", "-u", "y/abc/ABC/")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		log.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		log.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		log.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	for _, line := range []string{"a cab", "a cabbage"} {
		_, _ = fmt.Fprintln(stdin, line)
		answer, err := lines.ReadString('\n')
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(answer)
	}
	_ = stdin.Close() // the end of input
	_, _ = io.Copy(io.Discard, lines)
	fmt.Println(cmd.Wait())
	// Output:
	// A CAB
	// A CABBAge
	// <nil>
}

// A server that runs a command in the VM that a request names. All requests for
// a VM share one connection; when a request's client goes away, its context ends
// the command.
func ExamplePool() {
	pool := client.NewPool(client.PoolConfig{})
	defer pool.Close()
	targets := map[string]string{"web-17": target} // of a VM of Firecracker's: hvsock:///run/vms/web-17/vsock.sock

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		vm, ok := targets[r.URL.Query().Get("vm")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		c, err := pool.Get(r.Context(), vm)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		cmd := c.CommandContext(r.Context(), "echo", "the VM answers")
		cmd.Stdout = w
		if err := cmd.Run(); err != nil {
			log.Printf("%s: %v", vm, err)
		}
	}))
	defer server.Close()

	for range 2 {
		answer, err := http.Get(server.URL + "?vm=web-17")
		if err != nil {
			log.Fatal(err)
		}
		_, _ = io.Copy(os.Stdout, answer.Body)
		_ = answer.Body.Close()
	}
	fmt.Println(pool.Stats().Dials, "connection")
	// Output:
	// the VM answers
	// the VM answers
	// 1 connection
}

// A vm stands for a virtual machine that can be paused: it then takes no bytes.
type vm struct {
	net.Conn
	sync.Mutex // locked while the VM is paused
}

func (v *vm) Write(p []byte) (int, error) {
	v.Lock()
	defer v.Unlock()
	return v.Conn.Write(p)
}

// A VM that is paused answers nothing. A call waits for it as long as its context
// lets it; what runs in the VM goes on when the VM does, over the same connection.
func ExampleClient_Ping_pausedVM() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var guest vm
	c, err := client.DialWith(ctx, func(context.Context) (conn net.Conn, err error) {
		guest.Conn, err = net.Dial("unix", strings.TrimPrefix(target, "unix://"))
		return &guest, err
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	cmd := c.CommandContext(ctx, "cat")
	cmd.Stdout = os.Stdout
	stdin, err := cmd.StdinPipe()
	if err != nil {
		log.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		log.Fatal(err)
	}

	guest.Lock() // as a VMM pauses its VM
	soon, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	fmt.Println(errors.Is(c.Ping(soon), context.DeadlineExceeded))
	guest.Unlock() // and resumes it

	fmt.Println(c.Ping(ctx))
	_, _ = fmt.Fprintln(stdin, "still here")
	_ = stdin.Close()
	fmt.Println(cmd.Wait())
	// Output:
	// true
	// <nil>
	// still here
	// <nil>
}

// A terminal for a command that behaves otherwise without one.
func ExampleTTY() {
	c, err := client.Dial(context.Background(), target)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	cmd := c.Command("sh", "-c", "tty -s && stty size")
	cmd.TTY = &client.TTY{Rows: 24, Cols: 80}
	cmd.Stdin = strings.NewReader("")
	out, err := cmd.Output()
	fmt.Printf("%q %v\n", out, err)
	// Output:
	// "24 80\r\n" <nil>
}

// A caller that may try again must know whether the command may have run.
func ExampleMaybeStartedError() {
	run := func(cmd *client.Cmd) string {
		err := cmd.Run()
		switch {
		case err == nil:
			return "done"
		case errors.As(err, new(*client.ExitError)):
			return "it ran, and failed"
		case errors.As(err, new(*client.MaybeStartedError)), errors.As(err, new(*client.LostExitError)):
			return "it may have run: look before trying again"
		default:
			return "it has not run"
		}
	}
	c, err := client.Dial(context.Background(), target)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(run(c.Command("true")))
	fmt.Println(run(c.Command("false")))
	cmd := c.Command("cat")
	cmd.Stdin = strings.NewReader("in vain")
	_ = c.Close()
	fmt.Println(run(cmd))
	// Output:
	// done
	// it ran, and failed
	// it has not run
}

// An interactive terminal: what is typed here goes to a shell in the VM, and the
// VM's terminal is as large as ours and has the same keys.
func ExampleCmd_Resize() {
	c, err := client.Dial(context.Background(), target)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	stdin := int(os.Stdin.Fd())
	size := func() (rows, cols uint16) {
		w, h, _ := term.GetSize(stdin)
		return uint16(h), uint16(w)
	}
	rows, cols := size()
	cmd := c.Command("bash")
	modes, _ := client.ModesOf(os.Stdin) // without them the shell has the guest's own
	cmd.TTY = &client.TTY{Rows: rows, Cols: cols, Term: os.Getenv("TERM"), Modes: modes}
	cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
	if err := cmd.Start(); err != nil {
		log.Fatal(err)
	}

	// Every key is the shell's, until it ends.
	if state, err := term.MakeRaw(stdin); err == nil {
		defer term.Restore(stdin, state)
	}
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, syscall.SIGWINCH)
	go func() {
		for range changes {
			_ = cmd.Resize(size())
		}
	}()
	err = cmd.Wait()
	signal.Stop(changes)
	close(changes)
	fmt.Println(err)
}

// HTTP to a service in the VM, which needs no network for that.
func ExampleClient_DialGuest() {
	c, err := client.Dial(context.Background(), target)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	// In truth it runs in the VM, and listens on its loopback interface.
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "hello from the guest")
	}))
	defer service.Close()

	transport := &http.Transport{DialContext: c.DialGuest}
	defer transport.CloseIdleConnections()
	web := http.Client{Transport: transport, Timeout: time.Minute}
	answer, err := web.Get(service.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(os.Stdout, answer.Body)
	// Output:
	// hello from the guest
}

// A clone needs this before anything else. It is what cocoon-agent reseed --resume does.
func ExampleClient_ReseedWith() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.Dial(ctx, "hvsock:///run/vm/clone-17.sock")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	_, err = c.ReseedWith(ctx, client.ReseedOptions{MachineID: true, Clock: true, Hostname: "web-17", SSHKeys: true})
	if failed, ok := errors.AsType[*client.ReseedError](err); ok {
		for _, step := range failed.Failed() {
			log.Println(step.Name, step.Err)
		}
	}
	if err != nil {
		log.Fatal(err)
	}
}
