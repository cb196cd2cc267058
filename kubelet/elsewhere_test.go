//go:build linux

package kubelet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/virtual-kubelet/virtual-kubelet/node/api"
	"k8s.io/utils/exec"

	"github.com/cocoonstack/cocoon-agent/kubelet"
)

// An elsewhere is a pod without an agent.
type elsewhere struct{}

func (elsewhere) RunInContainer(_ context.Context, _, pod, _ string, argv []string, attach api.AttachIO) error {
	in, err := io.ReadAll(attach.Stdin())
	fmt.Fprintf(attach.Stdout(), "%s %s %s %v %v", pod, argv, in, attach.TTY(), attach.Stderr() != nil)
	return exec.CodeExitError{Err: errors.Join(errBroken, err), Code: 5}
}

func (elsewhere) AttachToContainer(ctx context.Context, _, _, _ string, attach api.AttachIO) error {
	_, err := io.WriteString(attach.Stdout(), "attached")
	<-ctx.Done()
	return err
}

func (elsewhere) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	fmt.Fprintf(stream, "port %d\n", port)
	return stream.Close()
}

func (elsewhere) GetContainerLogs(_ context.Context, _, _, _ string, opts api.ContainerLogOpts) (io.ReadCloser, error) {
	if opts.Tail != 0 {
		return nil, errBroken
	}
	r, w := io.Pipe()
	go func() { _, _ = io.WriteString(w, "a line\n") }() // ends with the reader
	return r, nil
}

func TestPodIsServedByItsFallback(t *testing.T) {
	overAll(t, func(t *testing.T, over string) {
		c := newCluster(t)
		c.add("elsewhere", &kubelet.Target{Fallback: elsewhere{}})
		var stdout bytes.Buffer
		x := call{over: over, pod: "elsewhere", command: []string{"a", "b"}, stdin: strings.NewReader("typed"), stdout: &stdout, stderr: io.Discard}
		wantStatus(t, x.run(patiently(t), c.URL), 5)
		if got := stdout.String(); got != "elsewhere [a b] typed false true" {
			t.Errorf("stdout %q", got)
		}

		local, _ := forwarding(t, c, over, "elsewhere", 4321)
		conn, err := net.Dial("tcp", local)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if got, err := io.ReadAll(conn); string(got) != "port 4321\n" || err != nil {
			t.Errorf("port-forward: %q, %v", got, err)
		}

		shown := &screen{}
		x = call{over: over, attach: true, pod: "elsewhere", stdout: shown}
		ended := make(chan error, 1)
		go func() { ended <- x.run(patiently(t), c.URL) }()
		eventually(t, patience, "it is attached", func() bool { return shown.String() == "attached" })
		log, err := c.Pods.GetContainerLogs(t.Context(), "default", "elsewhere", "main", api.ContainerLogOpts{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(log, make([]byte, 7)); err != nil {
			t.Error(err)
		}
		shut := make(chan error, 1)
		go func() { shut <- c.Pods.Shutdown(patiently(t)) }()
		if _, err := log.Read(make([]byte, 1)); !errors.Is(err, kubelet.ErrShutdown) {
			t.Errorf("the log ends with %v", err)
		}
		_ = log.Close()
		if err := <-shut; err != nil {
			t.Error(err)
		}
		if err := <-ended; err == nil {
			t.Error("the end of an attach by a shutdown is a success")
		}
	})
}

func TestLogsAndAttachAreTheProvidersOwn(t *testing.T) {
	c := newCluster(t)
	c.add("own", &kubelet.Target{
		Agent: shared,
		OpenLog: func(ctx context.Context, opts api.ContainerLogOpts) (io.ReadCloser, error) {
			return elsewhere{}.GetContainerLogs(ctx, "", "", "", opts)
		},
		Attach: func(_ context.Context, attach api.AttachIO) error {
			_, err := io.WriteString(attach.Stdout(), "the hypervisor's")
			return err
		},
	})
	if _, err := c.Pods.GetContainerLogs(t.Context(), "default", "own", "main", api.ContainerLogOpts{Tail: 1}); !errors.Is(err, errBroken) {
		t.Errorf("GetContainerLogs() = %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	log, err := c.Pods.GetContainerLogs(ctx, "default", "own", "main", api.ContainerLogOpts{})
	if err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 7)
	if _, err := io.ReadFull(log, line); string(line) != "a line\n" || err != nil {
		t.Errorf("the log reads %q, %v, want %q", line, err, "a line\n")
	}
	cancel(errBroken)
	if _, err := log.Read(line); !errors.Is(err, errBroken) {
		t.Errorf("Read() after the caller has gone: %v", err)
	}
	_ = log.Close()

	var stdout bytes.Buffer
	x := call{over: overSPDY, attach: true, pod: "own", stdout: &stdout}
	if err := x.run(patiently(t), c.URL); err != nil || stdout.String() != "the hypervisor's" {
		t.Errorf("attach: %q, %v", &stdout, err)
	}
	if err := c.Pods.Shutdown(patiently(t)); err != nil {
		t.Error(err)
	}
}

func TestPodWithoutAnAgentIsNeitherReadyNorProbed(t *testing.T) {
	c := newCluster(t)
	c.add("elsewhere", &kubelet.Target{Fallback: elsewhere{}})
	if err := c.Pods.Ready(t.Context(), "default", "elsewhere"); err == nil {
		t.Error("it is ready")
	}
	if well, _, err := c.Pods.Probe(t.Context(), "default", "elsewhere", "main", execProbe(9, "true")); well || err == nil {
		t.Errorf("it is probed: %v, %v", well, err)
	}
}
