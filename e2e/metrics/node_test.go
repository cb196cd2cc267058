//go:build linux

// Package metrics_test reads what a node and its pool expose with the programs that read it
// in a cluster: metrics-server's scraper, and Prometheus' query engine.
package metrics_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/virtual-kubelet/virtual-kubelet/node/api"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/client/agenttest"
	"github.com/cocoonstack/cocoon-agent/client/poolmetrics"
	"github.com/cocoonstack/cocoon-agent/kubelet"
)

// A node serves the metrics of two pods' VMs, and of its pool.
type node struct {
	*httptest.Server // /metrics/resource, and the pool's /metrics
	pool             *client.Pool
	vms              map[string]*agenttest.VM // by the pod's name
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{
		pool: client.NewPool(client.PoolConfig{}),
		vms:  map[string]*agenttest.VM{"web": agenttest.New(t), "db": agenttest.New(t)},
	}
	t.Cleanup(func() { _ = n.pool.Close() })
	pods := kubelet.New(n.pool, func(_ context.Context, _, pod, _ string) (*kubelet.Target, error) {
		return &kubelet.Target{Agent: n.vms[pod].Target}, nil
	})
	pods.Usage = kubelet.Usage{Node: "node", Pods: func(context.Context) ([]*corev1.Pod, error) {
		return []*corev1.Pod{podOf("web"), podOf("db")}, nil
	}}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(poolmetrics.New(n.pool))
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	api.AttachPodRoutes(api.PodHandlerConfig{GetMetricsResource: pods.GetMetricsResource}, mux, false)
	n.Server = httptest.NewServer(mux)
	t.Cleanup(n.Close)
	return n
}

func podOf(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid of " + name)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main"}}},
	}
}

func patiently(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// run runs a command in a pod's VM.
func (n *node) run(t *testing.T, pod string, argv ...string) error {
	t.Helper()
	c, err := n.pool.Get(patiently(t), n.vms[pod].Target)
	if err != nil {
		t.Fatal(err)
	}
	return c.CommandContext(patiently(t), argv[0], argv[1:]...).Run()
}
