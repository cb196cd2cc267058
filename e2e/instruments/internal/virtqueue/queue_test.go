//go:build linux

package virtqueue_test

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/driver"
	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/virtqueue"
)

const (
	ringSize = 8
	buffers  = 8 << 10 // where a test's buffers begin in the guest's memory
)

// A rig is a queue that runs, with both sides of it.
type rig struct {
	*virtqueue.Queue
	guest *driver.Memory
	mem   *virtqueue.Memory
	ring  *driver.Ring
	calls int // read end of what interrupts the driver
}

func start(t *testing.T, eventIndex bool, rekick time.Duration) *rig {
	t.Helper()
	guest, mem := mapped(t)
	r := &rig{Queue: virtqueue.New(1, rekick), guest: guest, mem: mem, ring: driver.NewRing(guest, 0, ringSize)}
	kick, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var calls [2]int
	if err := unix.Pipe2(calls[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r.calls = calls[0]
	t.Cleanup(func() { _ = unix.Close(r.calls) })
	r.Lock()
	defer r.Unlock()
	if err := r.SetSizeLocked(ringSize); err != nil {
		t.Fatal(err)
	}
	r.SetAddressesLocked(r.ring.Addresses())
	r.SetKickLocked(kick)
	r.SetCallLocked(calls[1])
	r.SetEnabledLocked(true)
	if err := r.StartLocked(mem, eventIndex); err != nil || !r.RunningLocked() {
		t.Fatalf("StartLocked() = %v, running %v", err, r.RunningLocked())
	}
	t.Cleanup(func() {
		r.Lock()
		defer r.Unlock()
		r.CloseLocked()
	})
	return r
}

// interrupts returns how often the driver has been interrupted since the last call.
func (r *rig) interrupts(t *testing.T) int {
	t.Helper()
	var b [800]byte
	n, err := unix.Read(r.calls, b[:])
	if errors.Is(err, unix.EAGAIN) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return n / 8
}

func (r *rig) pop(t *testing.T) virtqueue.Chain {
	t.Helper()
	c, ok, err := r.PopLocked()
	if err != nil || !ok {
		t.Fatalf("PopLocked() = %v, %v; %v", ok, err, r.ring)
	}
	return c
}

func TestPopAndPush(t *testing.T) {
	r := start(t, false, 0)
	r.Lock()
	defer r.Unlock()
	copy(r.guest.Bytes[buffers:], "hello, ")
	copy(r.guest.Bytes[buffers+100:], "device")
	for round := range 3 * ringSize { // the rings wrap
		r.ring.Desc(3, buffers, 7, driver.Next, 5)
		r.ring.Desc(5, buffers+100, 6, driver.Next, 0)
		r.ring.Desc(0, buffers+200, 4, driver.Write|driver.Next, 1)
		r.ring.Desc(1, buffers+300, 10, driver.Write, 0)
		r.ring.Offer(3)

		c := r.pop(t)
		if c.Readable() != 13 || c.Writable() != 14 {
			t.Fatalf("chain has %d, %d bytes, want 13, 14", c.Readable(), c.Writable())
		}
		var b [20]byte
		if n := c.Read(b[:], 2); string(b[:n]) != "llo, device" {
			t.Errorf("Read() = %q", b[:n])
		}
		if n := c.Write([]byte("an answer"), 2); n != 9 {
			t.Errorf("Write() = %d, want 9", n)
		}
		if got := r.guest.Bytes[buffers+300 : buffers+307]; !bytes.Equal(got, []byte(" answer")) {
			t.Errorf("the guest sees %q", got)
		}
		if _, _, ok := r.ring.Used(); ok {
			t.Fatal("the device has given back a buffer that it has")
		}
		r.PushLocked(c, 11)
		if head, n, ok := r.ring.Used(); !ok || head != 3 || n != 11 {
			t.Fatalf("round %d: used %d, %d, %v, want 3, 11", round, head, n, ok)
		}
		if !r.EmptyLocked() {
			t.Fatal("the queue is not empty")
		}
	}
}

func TestPopFollowsIndirectTables(t *testing.T) {
	r := start(t, false, 0)
	r.Lock()
	defer r.Unlock()
	const table = buffers + 1024
	copy(r.guest.Bytes[buffers:], "abc")
	r.guest.Desc(table, driver.GuestBase+buffers, 3, driver.Next, 2)
	r.guest.Desc(table+2*16, driver.GuestBase+buffers+8, 5, driver.Write, 0)
	r.ring.Desc(2, table, 3*16, driver.Indirect, 0)
	r.ring.Offer(2)
	c := r.pop(t)
	var b [3]byte
	c.Read(b[:], 0)
	if string(b[:]) != "abc" || c.Writable() != 5 {
		t.Errorf("chain has %q, and room for %d, want abc and 5", b, c.Writable())
	}
}

func TestPopRejectsWhatNoDriverWrites(t *testing.T) {
	const table = buffers + 1024
	for name, write := range map[string]func(*rig){
		"an available index that jumps":     func(r *rig) { r.ring.SetAvailable(ringSize + 1) },
		"an available index that goes back": func(r *rig) { r.ring.SetAvailable(0xffff) },
		"a head outside the table":          func(r *rig) { r.ring.Offer(ringSize) },
		"a next outside the table": func(r *rig) {
			r.ring.Desc(0, buffers, 1, driver.Next, 0xffff)
			r.ring.Offer(0)
		},
		"a descriptor that is its own next": func(r *rig) {
			r.ring.Desc(0, buffers, 1, driver.Next, 0)
			r.ring.Offer(0)
		},
		"a loop of empty descriptors": func(r *rig) {
			r.ring.Desc(0, buffers, 0, driver.Next, 1)
			r.ring.Desc(1, buffers, 0, driver.Next, 0)
			r.ring.Offer(0)
		},
		"an address outside the memory": func(r *rig) {
			r.ring.Desc(0, memorySize, 1, 0, 0)
			r.ring.Offer(0)
		},
		"a length across the memory's end": func(r *rig) {
			r.ring.Desc(0, memorySize-8, 9, 0, 0)
			r.ring.Offer(0)
		},
		"the longest length": func(r *rig) {
			r.ring.Desc(0, buffers, 0xffff_ffff, driver.Write, 0)
			r.ring.Offer(0)
		},
		"a readable descriptor behind a writable one": func(r *rig) {
			r.ring.Desc(0, buffers, 1, driver.Write|driver.Next, 1)
			r.ring.Desc(1, buffers, 1, 0, 0)
			r.ring.Offer(0)
		},
		"an indirect table of no whole descriptor": func(r *rig) {
			r.ring.Desc(0, table, 15, driver.Indirect, 0)
			r.ring.Offer(0)
		},
		"an empty indirect table": func(r *rig) {
			r.ring.Desc(0, table, 0, driver.Indirect, 0)
			r.ring.Offer(0)
		},
		"an indirect table outside the memory": func(r *rig) {
			r.ring.Desc(0, memorySize, 16, driver.Indirect, 0)
			r.ring.Offer(0)
		},
		"an indirect table in an indirect table": func(r *rig) {
			r.guest.Desc(table, driver.GuestBase+table, 16, driver.Indirect, 0)
			r.ring.Desc(0, table, 16, driver.Indirect, 0)
			r.ring.Offer(0)
		},
		"an indirect table that loops": func(r *rig) {
			r.guest.Desc(table, driver.GuestBase+buffers, 1, driver.Next, 0)
			r.ring.Desc(0, table, 32, driver.Indirect, 0)
			r.ring.Offer(0)
		},
		"a chain behind an indirect table": func(r *rig) {
			r.guest.Desc(table, driver.GuestBase+buffers, 1, 0, 0)
			r.ring.Desc(0, table, 16, driver.Indirect|driver.Next, 0)
			r.ring.Offer(0)
		},
		"an indirect table of too many buffers": func(r *rig) {
			const entries = 2048
			for i := range entries {
				r.guest.Desc(table+16*i, driver.GuestBase+buffers, 1, driver.Next, uint16(i+1))
			}
			r.ring.Desc(0, table, 16*entries, driver.Indirect, 0)
			r.ring.Offer(0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, false, 0)
			r.Lock()
			defer r.Unlock()
			write(r)
			if _, ok, err := r.PopLocked(); ok || !errors.Is(err, virtqueue.ErrRing) {
				t.Errorf("PopLocked() = %v, %v, want ErrRing", ok, err)
			}
		})
	}
}

func TestSetSizeRejects(t *testing.T) {
	q := virtqueue.New(0, 0)
	q.Lock()
	defer q.Unlock()
	for _, size := range []uint32{0, 3, 255, virtqueue.MaxSize + 1, 2 * virtqueue.MaxSize, 0xffff_ffff} {
		if err := q.SetSizeLocked(size); err == nil {
			t.Errorf("SetSizeLocked(%d) = nil, want an error", size)
		}
	}
}

func TestRunningQueueKeepsItsSize(t *testing.T) {
	r := start(t, false, 0)
	r.Lock()
	defer r.Unlock()
	if err := r.SetSizeLocked(2 * ringSize); err == nil {
		t.Error("SetSizeLocked() of a running queue = nil, want an error")
	}
}

func TestStartRejectsRingsOutsideMemory(t *testing.T) {
	for name, move := range map[string]func(*virtqueue.Addresses){
		"descriptors":        func(a *virtqueue.Addresses) { a.Desc = driver.UserBase + memorySize - 16 },
		"the available ring": func(a *virtqueue.Addresses) { a.Avail = driver.UserBase - 4 },
		"the used ring":      func(a *virtqueue.Addresses) { a.Used = 0 },
		"an unaligned ring":  func(a *virtqueue.Addresses) { a.Used++ },
	} {
		r := start(t, false, 0)
		r.Lock()
		addrs := r.ring.Addresses()
		move(&addrs)
		r.StopLocked()
		r.SetAddressesLocked(addrs)
		if err := r.StartLocked(r.mem, false); err == nil || r.RunningLocked() || !r.FailedLocked() {
			t.Errorf("%s: StartLocked() = %v, running %v, want an error", name, err, r.RunningLocked())
		}
		r.Unlock()
	}
}

func TestStoppedQueueLeavesMemoryAlone(t *testing.T) {
	r := start(t, true, 0)
	r.Lock()
	defer r.Unlock()
	r.ring.Desc(0, buffers, 1, 0, 0)
	r.ring.Offer(0)
	c := r.pop(t)
	r.StopLocked()
	r.PushLocked(c, 0)
	r.SignalLocked()
	r.EnableNotifyLocked()
	r.DisableNotifyLocked()
	if _, ok, err := r.PopLocked(); ok || err != nil {
		t.Errorf("PopLocked() of a stopped queue = %v, %v", ok, err)
	}
	if _, _, ok := r.ring.Used(); ok || !r.EmptyLocked() || r.HeldLocked() != 0 {
		t.Error("a stopped queue has given back a buffer")
	}
	if base := r.TakeDownLocked(); base != 1 {
		t.Errorf("TakeDownLocked() = %d, want 1", base)
	}
}

func TestSignalAsTheDriverAsks(t *testing.T) {
	r := start(t, true, 0)
	r.Lock()
	defer r.Unlock()
	r.ring.SetUsedEvent(2) // after the third buffer
	var got []int
	for range 4 {
		r.ring.Desc(0, buffers, 1, 0, 0)
		r.ring.Offer(0)
		r.PushLocked(r.pop(t), 0)
		r.SignalLocked()
		got = append(got, r.interrupts(t))
	}
	if want := [4]int{0, 0, 1, 0}; [4]int(got) != want {
		t.Errorf("interrupts %v, want %v", got, want)
	}
}

func TestRekickRepeatsInterrupts(t *testing.T) {
	r := start(t, true, time.Millisecond)
	r.Lock()
	r.ring.Desc(0, buffers, 1, 0, 0)
	r.ring.Offer(0)
	r.PushLocked(r.pop(t), 0)
	r.SignalLocked()
	r.Unlock()
	awaitInterrupts(t, r, 3)
}

// awaitInterrupts blocks until there have been n interrupts.
func awaitInterrupts(t *testing.T, r *rig, n int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); n > 0; {
		left := time.Until(deadline).Milliseconds()
		if left <= 0 {
			t.Fatalf("%d interrupts are missing", n)
		}
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(r.calls), Events: unix.POLLIN}}, int(left))
		if err != nil && !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
		n -= r.interrupts(t)
	}
}
