//go:build linux

package kubelet_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/virtual-kubelet/virtual-kubelet/errdefs"
	"github.com/virtual-kubelet/virtual-kubelet/node/api"
	"k8s.io/apimachinery/pkg/util/httpstream/wsstream"
	"k8s.io/apimachinery/pkg/util/proxy"
	constants "k8s.io/apimachinery/pkg/util/remotecommand"
	apiproxy "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/cocoonstack/cocoon-agent/kubelet"
)

// A cluster is what there is between kubectl and a Pods: virtual-kubelet's HTTP
// handler, and in front of it what an API server has. Its pod "vm" is a VM with
// the shared agent.
type cluster struct {
	Pods *kubelet.Pods
	URL  string // of the API server

	mu   sync.Mutex
	pods map[string]*kubelet.Target
}

// idleTimeout is virtual-kubelet's StreamIdleTimeout, as the package's documentation
// asks for.
const idleTimeout = 4 * time.Hour

func newCluster(tb testing.TB) *cluster {
	tb.Helper()
	return newClusterWith(tb, func(*api.PodHandlerConfig) {})
}

// newClusterWith is newCluster with a virtual-kubelet that change has changed.
func newClusterWith(tb testing.TB, change func(*api.PodHandlerConfig)) *cluster {
	tb.Helper()
	c := unserved(tb)
	c.serve(tb, c.Pods.Handler(c.handler(change)))
	return c
}

// newBareCluster is newCluster without [kubelet.Pods.Handler].
func newBareCluster(tb testing.TB) *cluster {
	tb.Helper()
	c := unserved(tb)
	c.serve(tb, c.handler(func(*api.PodHandlerConfig) {}))
	return c
}

func unserved(tb testing.TB) *cluster {
	tb.Helper()
	c := &cluster{pods: map[string]*kubelet.Target{"vm": {Agent: shared}}}
	c.Pods = kubelet.New(newPool(tb), c.resolve)
	return c
}

// serve has c served by virtual-kubelet's handler.
func (c *cluster) serve(tb testing.TB, h http.Handler) {
	tb.Helper()
	virtual := httptest.NewServer(h)
	tb.Cleanup(virtual.Close)
	server := httptest.NewServer(apiServer(virtual.URL))
	tb.Cleanup(server.Close)
	c.URL = server.URL
}

// handler is virtual-kubelet's.
func (c *cluster) handler(change func(*api.PodHandlerConfig)) http.Handler {
	mux := http.NewServeMux()
	config := api.PodHandlerConfig{
		RunInContainer:        c.Pods.RunInContainer,
		AttachToContainer:     c.Pods.AttachToContainer,
		GetContainerLogs:      c.Pods.GetContainerLogs,
		PortForward:           c.Pods.PortForward,
		StreamIdleTimeout:     idleTimeout,
		StreamCreationTimeout: idleTimeout,
	}
	change(&config)
	api.AttachPodRoutes(config, mux, false)
	return mux
}

func (c *cluster) resolve(_ context.Context, namespace, pod, _ string) (*kubelet.Target, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.pods[pod]
	if !ok || namespace != "default" {
		return nil, errdefs.NotFoundf("no pod %s/%s", namespace, pod)
	}
	return t, nil
}

func (c *cluster) add(pod string, t *kubelet.Target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pods[pod] = t
}

// apiServer hands requests on to a kubelet with an API server's own code: SPDY
// and the older websockets byte by byte, kubectl's websockets translated to
// SPDY (k8s.io/kubernetes/pkg/registry/core/pod/rest, subresources.go).
func apiServer(to string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at, err := url.Parse(to + r.URL.RequestURI())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		plain := proxy.NewUpgradeAwareHandler(at, nil, false, false, responder{})
		q := r.URL.Query()
		translated := apiproxy.NewStreamTranslatorHandler(at, nil, 0, apiproxy.Options{
			Stdin: q.Get("input") == "1", Stdout: q.Get("output") == "1", Stderr: q.Get("error") == "1", Tty: q.Get("tty") == "1",
		})
		h := apiproxy.NewTranslatingHandler(plain, translated, wsstream.IsWebSocketRequestWithStreamCloseProtocol)
		if strings.HasPrefix(r.URL.Path, "/portForward/") {
			h = apiproxy.NewTranslatingHandler(plain, apiproxy.NewTunnelingHandler(plain), wsstream.IsWebSocketRequestWithTunnelingProtocol)
		}
		h.ServeHTTP(w, r)
	})
}

type responder struct{}

func (responder) Error(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusBadGateway)
}

// deaf makes a virtual-kubelet one that does not cancel the context of an exec
// whose caller has gone, as all before 1.13.
func deaf(c *api.PodHandlerConfig) {
	hears := c.RunInContainer
	c.RunInContainer = func(ctx context.Context, namespace, pod, container string, argv []string, attach api.AttachIO) error {
		return hears(context.WithoutCancel(ctx), namespace, pod, container, argv, attach)
	}
}

// Ways to a virtual-kubelet.
const (
	overWebSocket = "websocket" // kubectl's own since 1.30
	overSPDY      = "spdy"      // older kubectl's, and what the API server speaks to kubelets
	overV4        = "v4"        // websockets that the API server passes through: clients in other languages
)

var kubectls = []string{overWebSocket, overSPDY}

// A call is what kubectl exec or attach asks for.
type call struct {
	over    string
	attach  bool
	pod     string // empty: vm
	command []string

	stdin          io.Reader
	stdout, stderr io.Writer
	tty            bool
	sizes          remotecommand.TerminalSizeQueue
}

func (c *call) url(server string) string {
	q := url.Values{"command": c.command}
	for name, wanted := range map[string]bool{
		"input": c.stdin != nil, "output": c.stdout != nil, "error": c.stderr != nil, "tty": c.tty,
	} {
		if wanted {
			q.Set(name, "1")
		}
	}
	verb, pod := "exec", c.pod
	if c.attach {
		verb = "attach"
	}
	if pod == "" {
		pod = "vm"
	}
	return fmt.Sprintf("%s/%s/default/%s/main?%s", server, verb, pod, q.Encode())
}

// run is kubectl's part.
func (c *call) run(ctx context.Context, server string) error {
	config := &rest.Config{Host: server}
	at, err := url.Parse(c.url(server))
	if err != nil {
		return err
	}
	var e remotecommand.Executor
	switch c.over {
	case overSPDY:
		e, err = remotecommand.NewSPDYExecutor(config, "POST", at)
	case overV4:
		e, err = remotecommand.NewWebSocketExecutorForProtocols(config, "GET", at.String(), constants.StreamProtocolV4Name)
	default:
		e, err = remotecommand.NewWebSocketExecutor(config, "GET", at.String())
	}
	if err != nil {
		return err
	}
	return e.StreamWithContext(ctx, remotecommand.StreamOptions{
		Stdin: c.stdin, Stdout: c.stdout, Stderr: c.stderr, Tty: c.tty, TerminalSizeQueue: c.sizes,
	})
}

// overAll runs a test over both of kubectl's ways.
func overAll(t *testing.T, f func(t *testing.T, over string)) {
	t.Helper()
	for _, over := range kubectls {
		t.Run(over, func(t *testing.T) { f(t, over) })
	}
}

// A caller is kubectl as a process, which can be killed: this test's own binary.
const asCaller = "KUBELET_TEST_CALLER"

// callerMain is called with: server, way, flags of [it], command….
func callerMain() int {
	server, flags := os.Args[1], os.Args[3]
	c := call{over: os.Args[2], command: os.Args[4:], stdout: os.Stdout}
	c.tty = strings.Contains(flags, "t")
	if strings.Contains(flags, "i") {
		c.stdin = os.Stdin
	}
	if !c.tty {
		c.stderr = os.Stderr
	}
	if err := c.run(context.Background(), server); err != nil {
		return fail(err)
	}
	return 0
}
