package main

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/virtual-kubelet/virtual-kubelet/errdefs"
	"github.com/virtual-kubelet/virtual-kubelet/node/nodeutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/kubelet"
)

// A provider is virtual-kubelet's view of the VMs. They run already, and go on.
type provider struct {
	*kubelet.Pods // exec, attach, port-forward, logs, metrics

	address string
	targets map[string]*target

	mu   sync.Mutex
	pods map[string]*corev1.Pod // those that the cluster has
}

var _ nodeutil.Provider = (*provider)(nil)

func newProvider(pool *client.Pool, targets []target, node, address string) *provider {
	p := &provider{address: address, targets: make(map[string]*target), pods: make(map[string]*corev1.Pod)}
	for i := range targets {
		p.targets[targets[i].key()] = &targets[i]
	}
	p.Pods = kubelet.New(pool, p.resolve)
	p.Usage = kubelet.Usage{Node: node, Pods: p.GetPods}
	return p
}

// resolve is a kubelet.Resolver.
func (p *provider) resolve(ctx context.Context, namespace, pod, _ string) (*kubelet.Target, error) {
	live, err := p.GetPod(ctx, namespace, pod)
	if err != nil {
		return nil, err
	}
	return p.targets[namespace+"/"+pod].resolve(live.Annotations)
}

// CreatePod takes a pod that has been bound to the node.
func (p *provider) CreatePod(_ context.Context, pod *corev1.Pod) error {
	key := pod.Namespace + "/" + pod.Name
	if p.targets[key] == nil {
		return errdefs.InvalidInputf("there is no VM for pod %s", key)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pod = pod.DeepCopy()
	pod.Status = *p.status(pod)
	p.pods[key] = pod
	return nil
}

// UpdatePod takes what can change of a pod: its annotations.
func (p *provider) UpdatePod(ctx context.Context, pod *corev1.Pod) error {
	return p.CreatePod(ctx, pod)
}

// DeletePod forgets a pod.
func (p *provider) DeletePod(_ context.Context, pod *corev1.Pod) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pods, pod.Namespace+"/"+pod.Name)
	return nil
}

// GetPod returns a pod that has been created.
func (p *provider) GetPod(_ context.Context, namespace, name string) (*corev1.Pod, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pod := p.pods[namespace+"/"+name]
	if pod == nil {
		return nil, errdefs.NotFoundf("no pod %s/%s", namespace, name)
	}
	return pod.DeepCopy(), nil
}

// GetPodStatus returns the status of a pod that has been created.
func (p *provider) GetPodStatus(ctx context.Context, namespace, name string) (*corev1.PodStatus, error) {
	pod, err := p.GetPod(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	return &pod.Status, nil
}

// GetPods returns all pods that have been created.
func (p *provider) GetPods(context.Context) ([]*corev1.Pod, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*corev1.Pod
	for _, key := range slices.Sorted(maps.Keys(p.pods)) {
		all = append(all, p.pods[key].DeepCopy())
	}
	return all, nil
}

// status is that of a VM that runs.
func (p *provider) status(pod *corev1.Pod) *corev1.PodStatus {
	now := metav1.Now()
	s := &corev1.PodStatus{
		Phase: corev1.PodRunning, HostIP: p.address, StartTime: &now,
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
			{Type: corev1.PodInitialized, Status: corev1.ConditionTrue},
			{Type: corev1.ContainersReady, Status: corev1.ConditionTrue},
			{Type: corev1.PodReady, Status: corev1.ConditionTrue},
		},
	}
	for i := range pod.Spec.Containers {
		s.ContainerStatuses = append(s.ContainerStatuses, corev1.ContainerStatus{
			Name: pod.Spec.Containers[i].Name, Image: pod.Spec.Containers[i].Image, Ready: true,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		})
	}
	return s
}
