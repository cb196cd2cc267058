//go:build linux

package kubelet_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/virtual-kubelet/virtual-kubelet/node/api"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport/spdy"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/kubelet"
)

// A node is a provider as a process, which can be ended: this test's own binary.
const asNode = "KUBELET_TEST_NODE"

// nodeMain serves the pod "vm" of the agent that asNode names until SIGTERM, and then ends
// as a provider should.
func nodeMain() int {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fail(err)
	}
	pool := client.NewPool(client.PoolConfig{})
	c := &cluster{pods: map[string]*kubelet.Target{"vm": {Agent: os.Getenv(asNode)}}}
	c.Pods = kubelet.New(pool, c.resolve)
	ended, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server := &http.Server{Handler: c.Pods.Handler(c.handler(func(*api.PodHandlerConfig) {}))}
	go func() { _ = server.Serve(ln) }() // ends with the process
	fmt.Fprintln(os.Stdout, "http://"+ln.Addr().String())
	<-ended.Done()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Pods.Shutdown(ctx); err != nil {
		return fail(err)
	}
	return 0
}

// startNode starts a node, and returns the URL of the API server in front of it too.
func startNode(t *testing.T, agent string) (node *exec.Cmd, address string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	node = exec.Command(self)
	node.Env = append(os.Environ(), asNode+"="+agent, "GORACE=atexit_sleep_ms=0")
	node.Stderr = os.Stderr
	out, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, node)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(apiServer(strings.TrimSpace(line)))
	t.Cleanup(server.Close)
	return node, server.URL
}

// kubectl exits with 0 when the provider ends under it without a word.
func TestNoCallerTakesTheEndOfItsNodeForSuccess(t *testing.T) {
	node, server := startNode(t, shared)
	dir := t.TempDir()
	var calls sync.WaitGroup
	var begun []string
	for _, over := range []string{overWebSocket, overSPDY, overV4} {
		for _, kind := range []struct{ name, script string }{
			{"silent", `sleep 1000`},
			{"stubborn", `trap "" TERM HUP; while :; do sleep 0.1; done`},
			{"talking", `while :; do echo line; done`},
			{"obedient", `trap "exit 0" TERM HUP; while :; do sleep 0.05; done`},
			{"terminal", `sleep 1000`},
			{"uploading", `sleep 1000`},
			{"uploading what is read", `cat >/dev/null`},
		} {
			what := kind.name + " over " + over
			file := filepath.Join(dir, strings.ReplaceAll(what, " ", "-"))
			begun = append(begun, file)
			x := call{over: over, command: sh(": >" + file + "; " + kind.script), stdout: io.Discard, stderr: io.Discard}
			switch {
			case kind.name == "terminal":
				x.tty, x.stdin, x.stderr = true, held(t), nil
			case strings.HasPrefix(kind.name, "uploading"):
				x.stdin = zeros{}
			}
			calls.Go(func() {
				if err := x.run(patiently(t), server); err == nil {
					t.Errorf("%s: success", what)
				} else {
					t.Logf("%s: %v", what, err)
				}
			})
		}
	}
	for _, file := range begun {
		eventually(t, patience, file+" has begun", func() bool { _, err := os.Stat(file); return err == nil })
	}
	if err := node.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	calls.Wait()
	if err := node.Wait(); err != nil {
		t.Error(err)
	}
}

func TestShutdownEndsCallsOfAPausedVM(t *testing.T) {
	agent, target := ownAgent(t)
	c := newCluster(t)
	c.add("paused", &kubelet.Target{Agent: target})
	file := filepath.Join(t.TempDir(), "pid")
	x := call{over: overSPDY, pod: "paused", command: sh(strings.ReplaceAll(tree+"wait", "$0", file)), stdout: io.Discard}
	ended := make(chan error, 1)
	go func() { ended <- x.run(patiently(t), c.URL) }()
	pids := pidsOf(t, file)
	pause(t, agent)
	for range 2 {
		if err := c.Pods.Shutdown(patiently(t)); err != nil {
			t.Error(err)
		}
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), kubelet.ErrShutdown.Error()) {
		t.Errorf("the caller gets %v, want a word on the shutdown", err)
	}
	if err := c.Pods.RunInContainer(t.Context(), "default", "vm", "main", sh("true"), nil); err != kubelet.ErrShutdown { //nolint:errorlint // itself
		t.Errorf("RunInContainer() = %v", err)
	}
	x = call{over: overSPDY, command: sh("true"), stdout: io.Discard}
	if err := x.run(patiently(t), c.URL); err == nil {
		t.Error("a new call is served")
	}
	if err := agent.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		eventually(t, patience, "process "+pid+" is gone", func() bool { return gone(pid) })
	}
}

func TestShutdownEndsPortForwards(t *testing.T) {
	overAll(t, func(t *testing.T, over string) {
		c := newCluster(t)
		port := service(t, func(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) })
		local, _ := forwarding(t, c, over, "vm", port)
		conn, err := net.Dial("tcp", local)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "x")
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if err := c.Pods.Shutdown(patiently(t)); err != nil {
			t.Error(err)
		}
		if n, err := io.ReadFull(conn, make([]byte, 1)); err == nil {
			t.Errorf("%d bytes after the end", n)
		}
	})
}

// Their callers have a connection and ask for nothing over it, or for a log.
func TestShutdownEndsWhatHasNoCall(t *testing.T) {
	c := newCluster(t)
	dialed, _, err := dialerOf(t, c, overSPDY, "vm").Dial("portforward.k8s.io")
	if err != nil {
		t.Fatal(err)
	}
	defer dialed.Close()
	transport, upgrader, err := spdy.RoundTripperFor(&rest.Config{Host: c.URL})
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(c.URL + "/exec/default/vm/main?command=true&output=1")
	if err != nil {
		t.Fatal(err)
	}
	silent, _, err := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", at).Dial("v4.channel.k8s.io")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c.add("logs", &kubelet.Target{Agent: shared, Logs: kubelet.LogCommand(sh("echo line; sleep 1000"), nil)})
	r, err := http.NewRequestWithContext(patiently(t), http.MethodGet, c.URL+"/containerLogs/default/logs/main", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.ReadFull(answer.Body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if err := c.Pods.Shutdown(patiently(t)); err != nil {
		t.Error(err)
	}
	if text, err := io.ReadAll(answer.Body); err == nil {
		t.Errorf("a log that was broken off ends as a whole one, with %q", text)
	}
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	c := newCluster(t)
	c.add("logs", &kubelet.Target{Agent: shared, Logs: kubelet.LogCommand(sh("sleep 1000"), nil)})
	log, err := c.Pods.GetContainerLogs(t.Context(), "default", "logs", "main", api.ContainerLogOpts{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Pods.Shutdown(ctx); err != context.Canceled { //nolint:errorlint // itself
		t.Errorf("Shutdown() with a log that is open = %v", err)
	}
	if _, err := io.ReadAll(log); err == nil || !strings.Contains(err.Error(), kubelet.ErrShutdown.Error()) {
		t.Errorf("the log ends with %v", err)
	}
	_ = log.Close()
	if err := c.Pods.Shutdown(patiently(t)); err != nil {
		t.Error(err)
	}
}
