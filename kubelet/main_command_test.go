//go:build linux

package kubelet_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/virtual-kubelet/virtual-kubelet/node/api"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/client/agenttest"
	"github.com/cocoonstack/cocoon-agent/kubelet"
)

// mainCommand starts a detached command, and makes it a pod's main command.
func mainCommand(t *testing.T, c *cluster, pod string, argv ...string) (stdin io.WriteCloser) {
	t.Helper()
	agent, err := client.Dial(t.Context(), shared)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = agent.Close() })
	cmd := agent.Command(argv[0], argv[1:]...)
	cmd.Outlive.Detach = true
	if stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Kill()
		_ = cmd.Wait()
	})
	c.add(pod, &kubelet.Target{Agent: shared, Main: cmd.Handle()})
	return stdin
}

func TestLogsOfMainCommand(t *testing.T) {
	c := newCluster(t)
	stdin := mainCommand(t, c, "main", "sh", "-c", "seq 5; read line; echo $line")
	eventually(t, patience, "the first lines", func() bool {
		_, text := logs(t, c, "main", "")
		return text == "1\n2\n3\n4\n5\n"
	})
	for query, want := range map[string]string{"tailLines=2": "4\n5\n", "tailLines=100": "1\n2\n3\n4\n5\n", "limitBytes=3": "1\n2"} {
		if code, text := logs(t, c, "main", query); code != 200 || !strings.HasPrefix(text, want) {
			t.Errorf("logs with %s = %d, %q, want %q", query, code, text, want)
		}
	}
	for _, query := range []string{"previous=true", "timestamps=true", "follow=true&tailLines=2"} {
		if code, text := logs(t, c, "main", query); code != 400 {
			t.Errorf("logs with %s = %d, %q, want 400", query, code, text)
		}
	}
	_, followed := openLogs(patiently(t), t, c, "main", "follow=true")
	if _, err := io.ReadFull(followed, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(stdin, "last\n")
	if rest, err := io.ReadAll(followed); err != nil || string(rest) != "last\n" {
		t.Errorf("the rest of the log is %q, %v", rest, err)
	}
	c.add("gone", &kubelet.Target{Agent: shared, Main: make([]byte, 16)})
	if code, text := logs(t, c, "gone", ""); code == 200 && !strings.Contains(text, "no command with handle") {
		t.Errorf("logs of a command that is not kept = %d, %q", code, text)
	}
}

func TestAttachToMainCommand(t *testing.T) {
	c := newCluster(t)
	overAll(t, func(t *testing.T, over string) {
		mainCommand(t, c, over, "sh", "-c", "while read line; do echo got $line; done; exit 3")
		for i := range 2 { // the first caller's end leaves it alone
			shown := &screen{}
			ctx, cancel := context.WithCancel(patiently(t))
			typed, write := io.Pipe()
			x := call{over: over, attach: true, pod: over, stdin: typed, stdout: shown, stderr: io.Discard}
			ended := make(chan error, 1)
			go func() { ended <- x.run(ctx, c.URL) }()
			go func() { _, _ = fmt.Fprintf(write, "line %d\n", i) }()
			eventually(t, patience, "the answer", func() bool { return strings.Contains(shown.String(), fmt.Sprintf("got line %d\n", i)) })
			cancel()
			_ = write.Close()
			<-ended
		}
	})
}

func TestResumedExecSurvivesLostConnection(t *testing.T) {
	vm := agenttest.New(t)
	pool := client.NewPool(client.PoolConfig{
		Dial:       func(ctx context.Context, _ string) (net.Conn, error) { return vm.Dial(ctx) },
		MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond,
	})
	t.Cleanup(func() { _ = pool.Close() })
	c := &cluster{pods: map[string]*kubelet.Target{}}
	c.Pods = kubelet.New(pool, c.resolve)
	c.serve(t, c.Pods.Handler(c.handler(func(*api.PodHandlerConfig) {})))
	resume := func(argv []string) bool { return argv[1] == "-c" }
	c.add("vm", &kubelet.Target{Agent: "vm", Resume: resume})
	for _, resumed := range []bool{true, false} {
		command := []string{"sh", "-c", "echo begun; read line </dev/null; sleep 2; echo over"}
		if !resumed {
			command = []string{"sh", "-ec", command[2]}
		}
		shown := &screen{}
		x := call{over: kubectls[0], command: command, stdout: shown, stderr: io.Discard}
		ended := make(chan error, 1)
		go func() { ended <- x.run(patiently(t), c.URL) }()
		eventually(t, patience, "the first line", func() bool { return shown.String() == "begun\n" })
		vm.Cut()
		err := <-ended
		if resumed && (err != nil || shown.String() != "begun\nover\n") || !resumed && err == nil {
			t.Errorf("exec, resumed %v = %v with %q", resumed, err, shown.String())
		}
	}
}
