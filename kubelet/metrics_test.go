//go:build linux

package kubelet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/virtual-kubelet/virtual-kubelet/node/api"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/cocoonstack/cocoon-agent/kubelet"
)

// podsOf are pods of a name each, with a container.
func podsOf(names ...string) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, name := range names {
		pods = append(pods, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid of " + name)},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main"}}},
		})
	}
	return pods
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(patiently(t), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s: %s %v", url, answer.Status, text, err)
	}
	return text
}

// "gone" has no agent.
func metered(t *testing.T) *cluster {
	t.Helper()
	var c *cluster
	c = newClusterWith(t, func(config *api.PodHandlerConfig) {
		config.GetStatsSummary = func(ctx context.Context) (*v1alpha1.Summary, error) { return c.Pods.GetStatsSummary(ctx) }
		config.GetMetricsResource = func(ctx context.Context) ([]*dto.MetricFamily, error) { return c.Pods.GetMetricsResource(ctx) }
	})
	c.add("gone", &kubelet.Target{Agent: "unix:///nosuch/socket"})
	c.Pods.Usage = kubelet.Usage{Node: "node", Pods: func(context.Context) ([]*corev1.Pod, error) { return podsOf("vm", "gone"), nil }}
	return c
}

func TestStatsSummaryIsTheKubeletsOwn(t *testing.T) {
	c := metered(t)
	var s v1alpha1.Summary
	if err := json.Unmarshal(get(t, c.URL+"/stats/summary"), &s); err != nil {
		t.Fatal(err)
	}
	if s.Node.NodeName != "node" || s.Node.CPU == nil || s.Node.Memory == nil || *s.Node.Memory.WorkingSetBytes == 0 {
		t.Errorf("node %+v", s.Node)
	}
	if len(s.Pods) != 1 {
		t.Fatalf("%d pods, want the one that answers", len(s.Pods))
	}
	p := s.Pods[0]
	if p.PodRef != (v1alpha1.PodReference{Name: "vm", Namespace: "default", UID: "uid of vm"}) || len(p.Containers) != 1 || p.Containers[0].Name != "main" {
		t.Errorf("pod %+v", p)
	}
	for what, stats := range map[string]v1alpha1.ContainerStats{"pod": {CPU: p.CPU, Memory: p.Memory, StartTime: p.StartTime}, "container": p.Containers[0]} {
		if stats.CPU == nil || *stats.CPU.UsageCoreNanoSeconds == 0 || *stats.Memory.WorkingSetBytes == 0 || *stats.Memory.AvailableBytes == 0 {
			t.Errorf("the %s's statistics are %+v, want all of them", what, stats)
		}
		if since := time.Since(stats.CPU.Time.Time); since < -time.Second || since > time.Minute || !stats.StartTime.Time.Before(stats.CPU.Time.Time) {
			t.Errorf("%s: told %v ago, booted %v", what, since, stats.StartTime)
		}
	}
}

func TestMetricsAreThoseOfTheKubelet(t *testing.T) {
	c := metered(t)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(get(t, c.URL+"/metrics/resource"))))
	if err != nil {
		t.Fatal(err)
	}
	for name, labels := range map[string]string{
		"node_cpu_usage_seconds_total": "", "node_memory_working_set_bytes": "",
		"container_cpu_usage_seconds_total":  "container=main namespace=default pod=vm",
		"container_memory_working_set_bytes": "container=main namespace=default pod=vm",
		"container_start_time_seconds":       "container=main namespace=default pod=vm",
		"pod_cpu_usage_seconds_total":        "namespace=default pod=vm",
		"pod_memory_working_set_bytes":       "namespace=default pod=vm",
		"resource_scrape_error":              "",
	} {
		f := families[name]
		if f == nil || len(f.GetMetric()) != 1 {
			t.Errorf("%s: %v, want one metric", name, f)
			continue
		}
		m := f.GetMetric()[0]
		var got []string
		for _, l := range m.GetLabel() {
			got = append(got, l.GetName()+"="+l.GetValue())
		}
		if strings.Join(got, " ") != labels {
			t.Errorf("%s has the labels %q, want %q", name, got, labels)
		}
		if value := m.GetCounter().GetValue() + m.GetGauge().GetValue(); value <= 0 && name != "node_cpu_usage_seconds_total" {
			t.Errorf("%s is %v", name, value)
		}
	}
	if len(families) != 8 {
		t.Errorf("%d families, want 8", len(families))
	}
}

// Nobody needs to be alarmed about a pod without an agent.
func TestPodServedElsewhereIsNotAScrapeError(t *testing.T) {
	c := newCluster(t)
	c.add("container", &kubelet.Target{Fallback: c.Pods})
	for pods, want := range map[string]float64{"vm container": 0, "vm gone": 1} {
		c.add("gone", &kubelet.Target{Agent: "unix:///nosuch/socket"})
		c.Pods.Usage.Pods = func(context.Context) ([]*corev1.Pod, error) { return podsOf(strings.Fields(pods)...), nil }
		families, err := c.Pods.GetMetricsResource(patiently(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if got := f.GetMetric()[0].GetGauge().GetValue(); f.GetName() == "resource_scrape_error" && got != want {
				t.Errorf("%s: resource_scrape_error %v, want %v", pods, got, want)
			}
			if f.GetName() == "pod_memory_working_set_bytes" && len(f.GetMetric()) != 1 {
				t.Errorf("%s: %d pods have figures, want 1", pods, len(f.GetMetric()))
			}
		}
	}
}

func TestNodeWithoutUsageHasNoStatistics(t *testing.T) {
	c := newCluster(t)
	if s, err := c.Pods.GetStatsSummary(t.Context()); err == nil {
		t.Errorf("GetStatsSummary = %+v, want an error", s)
	}
	if m, err := c.Pods.GetMetricsResource(t.Context()); err == nil {
		t.Errorf("GetMetricsResource = %+v, want an error", m)
	}
}

// 200 pods, 5 of them paused, while others run commands.
func TestScrapeOfPausedVMsDelaysNoExec(t *testing.T) {
	agent, target := ownAgent(t)
	c := newCluster(t)
	var names []string
	for i := range 200 {
		name := fmt.Sprint("vm", i)
		names = append(names, name)
		c.add(name, &kubelet.Target{Agent: shared})
		if i%40 == 0 {
			c.add(name, &kubelet.Target{Agent: target})
		}
	}
	c.Pods.Usage.Pods = func(context.Context) ([]*corev1.Pod, error) { return podsOf(names...), nil }
	pause(t, agent)
	ended := make(chan int, 1)
	go func() {
		s, err := c.Pods.GetStatsSummary(t.Context())
		if err != nil {
			t.Error(err)
			s = &v1alpha1.Summary{}
		}
		ended <- len(s.Pods)
	}()
	execs := 0
	for {
		select {
		case told := <-ended:
			if told != 195 || execs == 0 {
				t.Errorf("%d VMs have told, and %d commands ended meanwhile; want 195, and some", told, execs)
			}
			return
		default:
		}
		x := call{over: overSPDY, command: sh("exit 7"), stdout: io.Discard}
		wantStatus(t, x.run(patiently(t), c.URL), 7)
		execs++
	}
}
