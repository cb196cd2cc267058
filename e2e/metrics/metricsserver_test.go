//go:build linux

package metrics_test

import (
	"net"
	"net/url"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/metrics-server/pkg/scraper/client"
	"sigs.k8s.io/metrics-server/pkg/scraper/client/resource"
	"sigs.k8s.io/metrics-server/pkg/storage"
)

// metrics-server scrapes the node twice, and then has what kubectl top shows.
func TestMetricsServerHasUsageOfPodsAndNode(t *testing.T) {
	n := newNode(t)
	at, err := url.Parse(n.URL)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(at.Host)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	kubelet, err := resource.NewForConfig(&client.KubeletClientConfig{
		Client: rest.Config{Timeout: 10 * time.Second}, Scheme: "http", DefaultPort: number,
		AddressTypePriority: []corev1.NodeAddressType{corev1.NodeInternalIP},
	})
	if err != nil {
		t.Fatal(err)
	}
	self := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}}
	self.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: host}}
	kept := storage.NewStorage(15 * time.Second)
	var pods []*metav1.PartialObjectMetadata
	for _, name := range []string{"web", "db"} {
		pods = append(pods, &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}})
	}
	deadline := time.Now().Add(2 * time.Minute)
	for {
		batch, err := kubelet.GetMetrics(patiently(t), self)
		if err != nil {
			t.Fatal(err)
		}
		kept.Store(batch)
		nodes, err := kept.GetNodeMetrics(self)
		if err != nil {
			t.Fatal(err)
		}
		usage, err := kept.GetPodMetrics(pods...)
		if err != nil {
			t.Fatal(err)
		}
		if len(nodes) == 1 && len(usage) == len(pods) {
			for _, u := range usage {
				if c := u.Containers; len(c) != 1 || c[0].Name != "main" || c[0].Usage.Memory().Value() < 1<<20 {
					t.Errorf("pod %s: %+v, window %v", u.Name, c, u.Window)
				}
			}
			if m := nodes[0].Usage.Memory().Value(); m < 1<<20 {
				t.Errorf("the node uses %d bytes", m)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nodes %+v, pods %+v", nodes, usage)
		}
		_ = n.run(t, "web", "sh", "-c", "sleep 0.5") // figures are kept for 5 seconds
	}
}
