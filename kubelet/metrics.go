package kubelet

import (
	"context"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/virtual-kubelet/virtual-kubelet/errdefs"
	"github.com/virtual-kubelet/virtual-kubelet/node/api"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/cocoonstack/cocoon-agent/client"
)

var (
	_ api.PodStatsSummaryHandlerFunc    = (*Pods)(nil).GetStatsSummary
	_ api.PodMetricsResourceHandlerFunc = (*Pods)(nil).GetMetricsResource
)

// Usage says what statistics are about. It is set before use.
type Usage struct {
	Node string                                       // its name
	Pods func(context.Context) ([]*corev1.Pod, error) // those of the node
}

// GetStatsSummary returns the CPU time and memory of each VM, as its kernel counts them, for
// /stats/summary. A figure's time is that of the VM's answer: at most 5 seconds ago, or,
// if a VM does not answer (it is paused, say), that of its last one. VMs that have never
// answered, or have no agent or one of protocol version 1, are left out. The node's figures are the
// sums of its VMs', its CPU time since the program began. It returns within 4 seconds.
// Without [Pods.Usage] it is an errdefs.NotFound.
func (p *Pods) GetStatsSummary(ctx context.Context) (*v1alpha1.Summary, error) {
	pods, all, err := p.readings(ctx)
	if err != nil {
		return nil, err
	}
	spent, used, free, cores := p.meter.total(all)
	now := metav1.Now()
	s := &v1alpha1.Summary{Node: v1alpha1.NodeStats{
		NodeName: p.Usage.Node, StartTime: metav1.NewTime(p.meter.begun),
		CPU:    &v1alpha1.CPUStats{Time: now, UsageNanoCores: nano(cores), UsageCoreNanoSeconds: natural(spent)},
		Memory: &v1alpha1.MemoryStats{Time: now, AvailableBytes: &free, UsageBytes: &used, WorkingSetBytes: &used},
	}}
	for i, pod := range pods {
		if !all[i].at.IsZero() {
			s.Pods = append(s.Pods, podStats(pod, &all[i]))
		}
	}
	return s, nil
}

func podStats(pod *corev1.Pod, r *reading) v1alpha1.PodStats {
	at := metav1.NewTime(r.at)
	cpu := &v1alpha1.CPUStats{Time: at, UsageCoreNanoSeconds: natural(r.cpu)}
	if r.cores >= 0 {
		cpu.UsageNanoCores = nano(r.cores)
	}
	memory := &v1alpha1.MemoryStats{Time: at, AvailableBytes: &r.free, UsageBytes: &r.used, WorkingSetBytes: &r.used}
	return v1alpha1.PodStats{
		PodRef:    v1alpha1.PodReference{Name: pod.Name, Namespace: pod.Namespace, UID: string(pod.UID)},
		StartTime: metav1.NewTime(r.booted), CPU: cpu, Memory: memory,
		Containers: []v1alpha1.ContainerStats{{Name: containerOf(pod), StartTime: metav1.NewTime(r.booted), CPU: cpu, Memory: memory}},
	}
}

// containerOf is the container that a VM is.
func containerOf(pod *corev1.Pod) string {
	if len(pod.Spec.Containers) == 0 {
		return pod.Name
	}
	return pod.Spec.Containers[0].Name
}

func natural(d time.Duration) *uint64 {
	n := uint64(max(d, 0))
	return &n
}

func nano(cores float64) *uint64 {
	n := uint64(min(cores, 1e9) * 1e9)
	return &n
}

func (p *Pods) readings(ctx context.Context) ([]*corev1.Pod, []reading, error) {
	if p.Usage.Pods == nil {
		return nil, nil, errdefs.NotFound("this node has no statistics")
	}
	pods, err := p.Usage.Pods(ctx)
	if err != nil {
		return nil, nil, err
	}
	pods = distinct(pods)
	return pods, p.meter.gather(ctx, pods, p.ask), nil
}

// distinct leaves out pods that come twice.
func distinct(pods []*corev1.Pod) (once []*corev1.Pod) {
	seen := make(map[podKey]bool)
	for _, pod := range pods {
		if key := keyOf(pod); !seen[key] {
			seen[key] = true
			once = append(once, pod)
		}
	}
	return once
}

// ask asks a pod's agent.
func (p *Pods) ask(ctx context.Context, pod *corev1.Pod) (*client.Info, error) {
	ctx, done, err := p.calls.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	_, agent, err := p.reach(ctx, pod.Namespace, pod.Name, "", nil)
	if err != nil {
		return nil, err
	}
	return agent.Info(ctx)
}

// GetMetricsResource returns the figures of [Pods.GetStatsSummary] for
// /metrics/resource, which metrics-server reads: kubectl top shows them.
func (p *Pods) GetMetricsResource(ctx context.Context) ([]*dto.MetricFamily, error) {
	pods, all, err := p.readings(ctx)
	if err != nil {
		return nil, err
	}
	spent, used, _, _ := p.meter.total(all)
	now := time.Now()
	nodeCPU := counter("node_cpu_usage_seconds_total", "CPU time of all VMs of the node since the provider began, seconds")
	nodeMemory := gaugeOf("node_memory_working_set_bytes", "Memory that the VMs of the node use, bytes")
	nodeCPU.add(spent.Seconds(), now)
	nodeMemory.add(float64(used), now)
	cpu := counter("container_cpu_usage_seconds_total", "CPU time of the VM since its boot, seconds")
	memory := gaugeOf("container_memory_working_set_bytes", "Memory of the VM that is not available to new processes, bytes")
	started := gaugeOf("container_start_time_seconds", "Boot of the VM, or its restoration from a snapshot, seconds since 1970-01-01 UTC")
	podCPU := counter("pod_cpu_usage_seconds_total", cpu.GetHelp())
	podMemory := gaugeOf("pod_memory_working_set_bytes", memory.GetHelp())
	failed := gaugeOf("resource_scrape_error", "1 if the agent of some pod has never answered")
	missing := 0.0
	for i, pod := range pods {
		r := &all[i]
		if r.at.IsZero() {
			if !r.none {
				missing = 1
			}
			continue
		}
		labels := []string{"namespace", pod.Namespace, "pod", pod.Name}
		podCPU.add(r.cpu.Seconds(), r.at, labels...)
		podMemory.add(float64(r.used), r.at, labels...)
		labels = append([]string{"container", containerOf(pod)}, labels...)
		cpu.add(r.cpu.Seconds(), r.at, labels...)
		memory.add(float64(r.used), r.at, labels...)
		started.add(float64(r.booted.UnixNano())/1e9, r.at, labels...)
	}
	failed.add(missing, time.Time{})
	var families []*dto.MetricFamily
	for _, f := range []family{nodeCPU, nodeMemory, cpu, memory, started, podCPU, podMemory, failed} {
		if len(f.Metric) > 0 {
			families = append(families, f.MetricFamily)
		}
	}
	return families, nil
}

// A family is all metrics of a name.
type family struct{ *dto.MetricFamily }

func counter(name, help string) family { return familyOf(name, help, dto.MetricType_COUNTER) }
func gaugeOf(name, help string) family { return familyOf(name, help, dto.MetricType_GAUGE) }

func familyOf(name, help string, kind dto.MetricType) family {
	return family{&dto.MetricFamily{Name: &name, Help: &help, Type: &kind}}
}

// add adds a value of a time, if that is not zero, with labels: names, each before its value.
func (f family) add(value float64, at time.Time, labels ...string) {
	m := &dto.Metric{}
	for i := 0; i < len(labels); i += 2 {
		m.Label = append(m.Label, &dto.LabelPair{Name: &labels[i], Value: &labels[i+1]})
	}
	if f.GetType() == dto.MetricType_COUNTER {
		m.Counter = &dto.Counter{Value: &value}
	} else {
		m.Gauge = &dto.Gauge{Value: &value}
	}
	if !at.IsZero() {
		ms := at.UnixMilli()
		m.TimestampMs = &ms
	}
	f.Metric = append(f.Metric, m)
}
