package kubelet

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cocoonstack/cocoon-agent/client"
)

const (
	// freshTime is how long a reading is not taken anew: metrics-server asks every 15 s,
	// and other programs may ask too.
	freshTime = 5 * time.Second

	// pollTime is how long a VM has to answer, and gatherTime how long all have.
	pollTime   = 2 * time.Second
	gatherTime = 4 * time.Second

	// noneTime is how long a pod that has no figures is not asked again.
	noneTime = time.Minute

	// maxPolls is how many VMs are asked at a time.
	maxPolls = 32 // and as many that did not answer the last time
)

// A reading is what a VM has told.
type reading struct {
	at     time.Time // by this host's clock; zero: it has told nothing yet
	booted time.Time // or restored from a snapshot: since then cpu has not become less
	bootID string
	cpu    time.Duration // since boot
	cores  float64       // CPUs' worth of time since the reading before; below 0: not known
	free   uint64        // bytes, for new processes
	used   uint64        // bytes
	none   bool          // there are no figures: no agent, or one of protocol version 1
}

// A meter has the latest reading of each VM. It is safe for concurrent use.
type meter struct {
	slots     chan struct{} // polls under way
	deafSlots chan struct{} // of VMs that did not answer the last time

	mu    sync.Mutex
	begun time.Time
	known map[podKey]*gauge
	spent time.Duration // by all VMs, since begun
}

// A podKey tells a pod from a later one of the same name.
type podKey struct{ namespace, name, uid string }

func keyOf(pod *corev1.Pod) podKey { return podKey{pod.Namespace, pod.Name, string(pod.UID)} }

// A gauge is a VM's place in a meter.
type gauge struct {
	last   reading
	noneAt time.Time     // when it was last found to have none
	asked  chan struct{} // closed at the end of the poll that is under way; nil: none is
	deaf   bool          // it did not answer the last one
}

func newMeter() *meter {
	return &meter{slots: make(chan struct{}, maxPolls), deafSlots: make(chan struct{}, maxPolls), begun: time.Now(), known: make(map[podKey]*gauge)}
}

// gather returns the latest reading of each pod, in their order. VMs whose reading is not fresh
// are asked, for gatherTime at most: one that does not answer has its last reading. Nobody
// waits for one that did not answer the last time: it is asked for the next gather.
func (m *meter) gather(ctx context.Context, pods []*corev1.Pod, ask func(context.Context, *corev1.Pod) (*client.Info, error)) []reading {
	ctx, cancel := context.WithTimeout(ctx, gatherTime)
	defer cancel()
	for _, asked := range m.poll(pods, ask) {
		select {
		case <-asked:
		case <-ctx.Done():
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]reading, len(pods))
	for i, pod := range pods {
		if g := m.known[keyOf(pod)]; g != nil {
			all[i] = g.last
		}
	}
	return all
}

// poll begins to ask VMs, and forgets those that are not among pods. It returns what is
// closed when they have been asked.
func (m *meter) poll(pods []*corev1.Pod, ask func(context.Context, *corev1.Pod) (*client.Info, error)) (under []<-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	present := make(map[podKey]*gauge, len(pods))
	for _, pod := range pods {
		g := m.known[keyOf(pod)]
		if g == nil {
			g = &gauge{}
		}
		present[keyOf(pod)] = g
		if g.asked == nil && time.Since(g.last.at) > freshTime && time.Since(g.noneAt) > noneTime {
			g.asked = make(chan struct{})
			slots := m.slots
			if g.deaf {
				slots = m.deafSlots
			}
			go m.read(g, slots, func(ctx context.Context) (*client.Info, error) { return ask(ctx, pod) }) // ends within pollTime of its turn
		}
		if g.asked != nil && !g.deaf {
			under = append(under, g.asked)
		}
	}
	m.known = present
	return under
}

// read asks a VM when it is its turn.
func (m *meter) read(g *gauge, slots chan struct{}, ask func(context.Context) (*client.Info, error)) {
	slots <- struct{}{}
	ctx, cancel := context.WithTimeout(context.Background(), pollTime)
	info, err := ask(ctx)
	cancel()
	<-slots
	m.mu.Lock()
	defer m.mu.Unlock()
	elsewhere := errors.Is(err, errElsewhere)
	g.deaf = err != nil && !elsewhere
	switch {
	case elsewhere, err == nil && info.MemoryTotal == 0: // an agent of protocol version 1 does not tell
		g.last, g.noneAt = reading{none: true}, time.Now()
	case err == nil:
		m.noteLocked(g, info, time.Now())
	}
	close(g.asked)
	g.asked = nil
}

// noteLocked makes a reading of what a VM has told.
func (m *meter) noteLocked(g *gauge, i *client.Info, now time.Time) {
	before := g.last
	g.last = reading{
		at: now, booted: now.Add(-i.Uptime), bootID: i.BootID, cpu: i.CPUTime, cores: -1,
		free: min(i.MemoryAvailable, i.MemoryTotal), used: i.MemoryTotal - min(i.MemoryAvailable, i.MemoryTotal),
	}
	if before.at.IsZero() {
		return // what was used before is nobody's
	}
	spent, took := i.CPUTime-before.cpu, now.Sub(before.at)
	switch {
	case i.BootID == before.bootID && spent >= 0:
		g.last.booted = before.booted // metrics-server drops a container whose start moves
	case g.last.booted.Before(before.at): // a clone that was booted long ago, or a VM that was restored
		g.last.booted = before.at
	}
	switch {
	case i.BootID != before.bootID:
		spent = i.CPUTime
	case spent < 0: // restored from a snapshot
		return
	}
	// A guest may say anything.
	spent = time.Duration(min(float64(spent), float64(took)*float64(max(i.CPUs, 1))))
	m.spent += min(spent, math.MaxInt64-m.spent)
	if took > 0 {
		g.last.cores = float64(spent) / float64(took)
	}
}

// total returns what the node's VMs have used since the meter began, and use.
func (m *meter) total(all []reading) (spent time.Duration, used, free uint64, cores float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range all {
		used += min(all[i].used, math.MaxUint64-used)
		free += min(all[i].free, math.MaxUint64-free)
		cores += max(all[i].cores, 0)
	}
	return m.spent, used, free, cores
}
