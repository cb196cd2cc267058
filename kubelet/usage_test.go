package kubelet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cocoonstack/cocoon-agent/client"
)

func podOf(name, uid string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(uid)}}
}

func TestReadingsAreKeptWhileAVMIsPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, pods := newMeter(), []*corev1.Pod{podOf("vm", "1")}
		asked, cpu, paused, boot := 0, time.Second, false, "first"
		ask := func(ctx context.Context, _ *corev1.Pod) (*client.Info, error) {
			asked++
			if paused {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return &client.Info{MemoryTotal: 100, MemoryAvailable: 60, CPUs: 4, CPUTime: cpu, Uptime: time.Hour, BootID: boot}, nil
		}
		first := m.gather(t.Context(), pods, ask)[0]
		if first.used != 40 || first.free != 60 || first.cpu != cpu || first.cores >= 0 || !first.at.Equal(time.Now()) || !first.booted.Equal(time.Now().Add(-time.Hour)) {
			t.Errorf("first reading %+v", first)
		}
		time.Sleep(freshTime) //nolint:forbidigo // of synctest
		if again := m.gather(t.Context(), pods, ask)[0]; again != first || asked != 1 {
			t.Errorf("asked %d times, reading %+v, want the one that is fresh", asked, again)
		}
		time.Sleep(5 * time.Second) //nolint:forbidigo // of synctest
		cpu += 20 * time.Second
		if next := m.gather(t.Context(), pods, ask)[0]; next.cores != 2 {
			t.Errorf("20 s of CPU in 10 s: %v cores", next.cores)
		}

		paused = true
		time.Sleep(time.Minute) //nolint:forbidigo // of synctest
		begun, last := time.Now(), m.gather(t.Context(), pods, ask)[0]
		if took := time.Since(begun); took > gatherTime || last.cpu != cpu || time.Since(last.at) < time.Minute {
			t.Errorf("paused: %+v after %v, want the last reading", last, took)
		}

		begun = time.Now()
		m.gather(t.Context(), pods, ask)
		if time.Since(begun) > 0 {
			t.Error("a VM that did not answer is waited for again")
		}

		synctest.Wait()
		time.Sleep(time.Minute) //nolint:forbidigo // of synctest
		paused, cpu, boot = false, time.Second, "second"
		m.gather(t.Context(), pods, ask)
		synctest.Wait() // it answers, but is not waited for
		if spent, used, _, _ := m.total(m.gather(t.Context(), pods, ask)); spent != 21*time.Second || used != 40 {
			t.Errorf("the node's VMs have used %v and %d bytes, want 21 s since it began, and 40", spent, used)
		}
		m.gather(t.Context(), []*corev1.Pod{podOf("vm", "2")}, ask)
		if len(m.known) != 1 {
			t.Errorf("%d pods are known, want the one that is there", len(m.known))
		}
		synctest.Wait()
	})
}

// metrics-server takes a start that moves back for an error, and one that is later than its
// last figures for a restart.
func TestStartMovesOnlyWhenTheCountersBeginAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, pods := newMeter(), []*corev1.Pod{podOf("vm", "1")}
		info := client.Info{MemoryTotal: 1, CPUTime: time.Hour, Uptime: time.Hour, BootID: "first"}
		ask := func(context.Context, *corev1.Pod) (*client.Info, error) { return new(info), nil }
		first := m.gather(t.Context(), pods, ask)[0]
		next := func() (now reading, before time.Time) {
			before = m.gather(t.Context(), pods, ask)[0].at // it is fresh
			time.Sleep(2 * freshTime)                       //nolint:forbidigo // of synctest
			return m.gather(t.Context(), pods, ask)[0], before
		}
		info.Uptime += time.Second // the clocks of host and guest drift, and the VM was paused
		if r, _ := next(); !r.booted.Equal(first.booted) {
			t.Errorf("booted %v, and before that %v", r.booted, first.booted)
		}
		info.CPUTime = time.Minute
		if r, before := next(); !r.booted.Equal(before) {
			t.Errorf("a VM that was restored has begun at %v, want the time of its last answer, %v", r.booted, before)
		}
		info.BootID, info.Uptime = "second", 2*time.Second
		if r, _ := next(); !r.booted.Equal(r.at.Add(-2 * time.Second)) {
			t.Errorf("a VM that was booted 2 s ago has begun at %v, at %v", r.booted, r.at)
		}
		info.BootID, info.Uptime = "third", time.Hour
		if r, before := next(); !r.booted.Equal(before) {
			t.Errorf("a clone that was booted an hour ago has begun at %v, want %v", r.booted, before)
		}
		synctest.Wait()
	})
}

func TestPausedVMsDelayNoScrapeForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeter()
		var pods []*corev1.Pod
		for i := range 200 {
			pods = append(pods, podOf(fmt.Sprint(i), ""))
		}
		var under, most atomic.Int32
		ask := func(ctx context.Context, pod *corev1.Pod) (*client.Info, error) {
			most.Store(max(most.Load(), under.Add(1)))
			defer under.Add(-1)
			if pod.Name < "105" && pod.Name > "1" && len(pod.Name) == 3 { // 100 to 104
				<-ctx.Done()
				return nil, ctx.Err()
			}
			time.Sleep(time.Millisecond) //nolint:forbidigo // of synctest
			return &client.Info{MemoryTotal: 1}, nil
		}
		begun := time.Now()
		told := 0
		for _, r := range m.gather(t.Context(), pods, ask) {
			if !r.at.IsZero() {
				told++
			}
		}
		if took := time.Since(begun); took > gatherTime || told != 195 || most.Load() > maxPolls {
			t.Errorf("%d VMs have told in %v, at most %d at a time; want 195 within %v", told, took, most.Load(), gatherTime)
		}
		synctest.Wait()
	})
}

func TestPodWithoutFiguresHasNoReading(t *testing.T) {
	for name, test := range map[string]struct {
		answer *client.Info
		err    error
		none   bool          // it is known that there are none
		again  time.Duration // when it is asked again
	}{
		"protocol version 1": {&client.Info{}, nil, true, time.Minute},
		"no agent":           {nil, fmt.Errorf("exec: %w", errElsewhere), true, time.Minute},
		"an error":           {nil, errors.New("no answer"), false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, pods := newMeter(), []*corev1.Pod{podOf("vm", name)}
				asked := 0
				gather := func() reading {
					r := m.gather(t.Context(), pods, func(context.Context, *corev1.Pod) (*client.Info, error) {
						asked++
						return test.answer, test.err
					})[0]
					synctest.Wait()
					return r
				}
				if got := gather(); got != (reading{none: test.none}) {
					t.Errorf("gather = %+v, want %+v", got, reading{none: test.none})
				}
				if test.again > 0 {
					time.Sleep(test.again) //nolint:forbidigo // of synctest
					gather()
					if asked != 1 {
						t.Errorf("asked %d times within %v", asked, test.again)
					}
					time.Sleep(time.Nanosecond) //nolint:forbidigo // of synctest
				}
				gather()
				if asked != 2 {
					t.Errorf("asked %d times, want again after %v", asked, test.again)
				}
			})
		})
	}
}

func TestFiguresOfAGuestThatLiesAreBounded(t *testing.T) {
	m, g := newMeter(), &gauge{}
	now := time.Now()
	say := func(cpu time.Duration, memory uint64) {
		now = now.Add(10 * time.Second)
		m.noteLocked(g, &client.Info{CPUs: 2, CPUTime: cpu, MemoryTotal: memory}, now)
	}
	say(time.Hour, 1)
	say(time.Minute, 1) // a snapshot of it was restored
	if m.spent != 0 || g.last.cores >= 0 {
		t.Errorf("a restored VM has spent %v, %v cores", m.spent, g.last.cores)
	}
	for range 3 {
		say(math.MaxInt64, math.MaxInt64)
		say(0, 0)
	}
	say(math.MaxInt64, math.MaxInt64)
	if m.spent != 4*20*time.Second || g.last.cores != 2 {
		t.Errorf("2 CPUs have spent %v, %v cores; want 20 s of each 10 s", m.spent, g.last.cores)
	}
	all := []reading{g.last, g.last, g.last, {cores: 1e300}}
	if _, used, _, cores := m.total(all); used != math.MaxUint64 || *nano(cores) != 1e18 {
		t.Errorf("used %d bytes and %v cores", used, cores)
	}
}
