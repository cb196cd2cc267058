package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/virtual-kubelet/virtual-kubelet/node"
	"github.com/virtual-kubelet/virtual-kubelet/node/nodeutil"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/kubelet"
)

const (
	// leaveTime is how long taking leave of callers may take, and of the cluster.
	leaveTime = 10 * time.Second

	taint = "virtual-kubelet.io/provider" // keeps other pods away
)

// serve is the node, until ctx ends.
func serve(ctx context.Context, cluster kubernetes.Interface, o *options) error {
	targets, err := readTargets(o.targets)
	if err != nil {
		return err
	}
	config, err := o.serverTLS()
	if err != nil {
		return err
	}
	pool := client.NewPool(client.PoolConfig{})
	defer pool.Close()

	p, routes := newProvider(pool, targets, o.node, o.address), http.NewServeMux()
	n, err := nodeutil.NewNode(o.node,
		func(c nodeutil.ProviderConfig) (nodeutil.Provider, node.NodeProvider, error) {
			o.describe(c.Node)
			return p, nil, nil
		},
		nodeutil.WithClient(cluster),
		func(c *nodeutil.NodeConfig) error {
			c.HTTPListenAddr, c.TLSConfig, c.Handler = o.listen, config, p.Handler(routes)
			return nil
		},
		nodeutil.AttachProviderRoutes(routes),
		kubelet.Configure,
	)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- n.Run(running) }() // stopped by stop; waited for below
	if err = n.WaitReady(ctx, time.Minute); err == nil {
		err = createPods(ctx, cluster, o.node, targets)
	}
	if err == nil {
		fmt.Fprintf(os.Stderr, "node %s serves on %s\n", o.node, o.listen)
		select {
		case <-ctx.Done():
		case err = <-ended:
			ended <- err
		}
	}
	shutDown(p.Pods)                //nolint:contextcheck // ctx has ended
	leave(cluster, o.node, targets) //nolint:contextcheck // likewise
	stop()
	if failed := <-ended; err == nil && ctx.Err() == nil {
		err = failed
	}
	if ctx.Err() != nil {
		return nil // it was interrupted
	}
	return err
}

// describe says where the API server finds the node, and that it is for its own
// pods only.
func (o *options) describe(n *corev1.Node) {
	_, port, _ := net.SplitHostPort(o.listen)
	number, _ := strconv.ParseInt(port, 10, 32) // checked
	room := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("100"), corev1.ResourceMemory: resource.MustParse("100Gi"), corev1.ResourcePods: resource.MustParse("1000"),
	}
	n.Spec.Taints = []corev1.Taint{{Key: taint, Value: "cocoon", Effect: corev1.TaintEffectNoSchedule}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: o.address}}
	n.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(number)
	n.Status.Capacity, n.Status.Allocatable = room, room
	n.Status.NodeInfo.KubeletVersion = "cocoon-example"
}

// createPods makes a pod of each target that has none.
func createPods(ctx context.Context, cluster kubernetes.Interface, name string, targets []target) error {
	for i := range targets {
		t := &targets[i]
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: t.Name, Namespace: t.Namespace, Annotations: t.Annotations},
			Spec: corev1.PodSpec{
				NodeName:                     name, // no scheduler
				RestartPolicy:                corev1.RestartPolicyNever,
				AutomountServiceAccountToken: new(bool),
				Tolerations:                  []corev1.Toleration{{Key: taint, Operator: corev1.TolerationOpExists}},
				Containers:                   []corev1.Container{{Name: "vm", Image: "vm"}},
			},
		}
		_, err := cluster.CoreV1().Pods(t.Namespace).Create(ctx, pod, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create pod %s: %w", t.key(), err)
		}
	}
	return nil
}

// shutDown ends the calls of kubectl, for which the node still serves.
func shutDown(pods *kubelet.Pods) {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	if err := pods.Shutdown(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "example: calls are still under way:", err)
	}
}

// leave removes the pods and the node from the cluster, as far as it can.
func leave(cluster kubernetes.Interface, name string, targets []target) {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
	var all []error
	for i := range targets {
		all = append(all, cluster.CoreV1().Pods(targets[i].Namespace).Delete(ctx, targets[i].Name, now))
	}
	all = append(all, cluster.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{}))
	if err := errors.Join(all...); err != nil {
		fmt.Fprintln(os.Stderr, "example: left behind in the cluster:", err)
	}
}
