package kubelet

import (
	"context"
	"time"

	"github.com/virtual-kubelet/virtual-kubelet/node/api"

	"github.com/cocoonstack/cocoon-agent/client"
)

// DefaultHeartbeat is the [Pods.Heartbeat] of a Pods that sets none.
const DefaultHeartbeat = 500 * time.Millisecond

// A Resolver returns the VM of a pod, which says how commands run there. It is called
// for each call of a [Pods], up to three times, on any number of goroutines. The Target
// must not change afterwards. For a port-forward container is empty, since Kubernetes
// names none.
//
// ctx ends when the caller has gone. The caller is told the error as it is; one of
// virtual-kubelet's errdefs gives kubectl logs its HTTP status.
type Resolver func(ctx context.Context, namespace, pod, container string) (*Target, error)

// Pods serves kubectl's exec, attach, port-forward and logs for pods that are VMs. Its
// methods are those of the same names in virtual-kubelet's nodeutil.Provider and
// api.PodHandlerConfig: embed a *Pods in a provider. [New] makes one; a zero Pods
// cannot be used. It is safe for concurrent use. The calls end with their contexts, and
// after [Pods.Shutdown] they return [ErrShutdown].
type Pods struct {
	// Heartbeat is how often a caller is written nothing to, to find out
	// whether it is still there. 0: [DefaultHeartbeat]. It is set before use.
	Heartbeat time.Duration

	// Usage is for [Pods.GetStatsSummary] and [Pods.GetMetricsResource].
	Usage Usage

	pool       *client.Pool
	resolve    Resolver
	identities *identities
	calls      *calls
	meter      *meter
}

// The signatures are virtual-kubelet's.
var (
	_ api.ContainerExecHandlerFunc   = (*Pods)(nil).RunInContainer
	_ api.ContainerAttachHandlerFunc = (*Pods)(nil).AttachToContainer
	_ api.ContainerLogsHandlerFunc   = (*Pods)(nil).GetContainerLogs
	_ api.PortForwardHandlerFunc     = (*Pods)(nil).PortForward
)

// New returns a Pods that reaches the agents in the VMs through pool, which stays the
// caller's to close. It starts no goroutine.
func New(pool *client.Pool, resolve Resolver) *Pods {
	return &Pods{pool: pool, resolve: resolve, identities: new(identities), calls: newCalls(), meter: newMeter()}
}

func (p *Pods) heartbeat() time.Duration {
	if p.Heartbeat > 0 {
		return p.Heartbeat
	}
	return DefaultHeartbeat
}
