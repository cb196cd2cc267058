//go:build linux

package kubelet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/remotecommand"

	"github.com/cocoonstack/cocoon-agent/kubelet"
)

// console is a pod's, and the VM's end of it.
func console(t *testing.T, c *cluster, pod string) (vm net.Conn) {
	t.Helper()
	vm, host := net.Pipe()
	t.Cleanup(func() { _ = vm.Close() })
	c.add(pod, &kubelet.Target{Console: func(context.Context) (io.ReadWriteCloser, error) { return host, nil }})
	return vm
}

func TestAttachWithoutAConsoleSaysWhatToDo(t *testing.T) {
	c := newCluster(t)
	overAll(t, func(t *testing.T, over string) {
		x := call{over: over, attach: true, stdout: io.Discard, stderr: io.Discard}
		if err := x.run(patiently(t), c.URL); status(err) != -1 || !strings.Contains(err.Error(), "use kubectl exec") {
			t.Errorf("error %v", err)
		}
	})
}

func TestAttachCarriesTheConsoleBothWaysToItsEnd(t *testing.T) {
	c := newCluster(t)
	overAll(t, func(t *testing.T, over string) {
		vm := console(t, c, over)
		shown, resized := &screen{}, make(sizes, 200)
		for range cap(resized) { // which would fill all buffers if nobody took them
			resized <- remotecommand.TerminalSize{Width: 1, Height: 1}
		}
		x := call{over: over, attach: true, pod: over, tty: true, stdin: strings.NewReader("typed"), stdout: shown, sizes: resized}
		ended := make(chan error, 1)
		go func() { ended <- x.run(patiently(t), c.URL) }()
		typed := make([]byte, 5)
		if _, err := io.ReadFull(vm, typed); err != nil || string(typed) != "typed" {
			t.Fatalf("the console reads %q, %v, want %q", typed, err, "typed")
		}
		// The end of the caller's input is not the console's.
		_, _ = vm.Write(bytes.Repeat([]byte("line\r\n"), 10_000))
		_ = vm.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		close(resized)
		if n := strings.Count(shown.String(), "line\r\n"); n != 10_000 {
			t.Errorf("%d lines", n)
		}
	})
}

func TestConsoleIsClosedWhenTheCallerHasGone(t *testing.T) {
	c := newCluster(t)
	overAll(t, func(t *testing.T, over string) {
		vm := console(t, c, over)
		ctx, cancel := context.WithCancel(t.Context())
		shown := &screen{}
		x := call{over: over, attach: true, pod: over, stdin: held(t), stdout: shown}
		ended := make(chan error, 1)
		go func() { ended <- x.run(ctx, c.URL) }()
		_, _ = vm.Write([]byte("up"))
		eventually(t, patience, "up", func() bool { return shown.String() == "up" })
		cancel()
		<-ended
		_ = vm.SetDeadline(time.Now().Add(goneWithin))
		if _, err := io.Copy(io.Discard, vm); err != nil {
			t.Errorf("not within %v: %v", goneWithin, err)
		}
	})
}

func TestConsoleThatCannotBeOpenedOrReadSaysWhy(t *testing.T) {
	c := newCluster(t)
	c.add("locked", &kubelet.Target{Console: func(context.Context) (io.ReadWriteCloser, error) { return nil, errBroken }})
	c.add("torn", &kubelet.Target{Console: func(context.Context) (io.ReadWriteCloser, error) { return torn{}, nil }})
	for pod, text := range map[string]string{"locked": "open the console: broken", "torn": "read the console: broken"} {
		x := call{attach: true, pod: pod, stdout: io.Discard}
		if err := x.run(patiently(t), c.URL); status(err) != -1 || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v", err)
		}
	}
}

type torn struct{}

func (torn) Read([]byte) (int, error)    { return 0, errBroken }
func (torn) Write(p []byte) (int, error) { return len(p), nil }
func (torn) Close() error                { return errors.New("closed") }
