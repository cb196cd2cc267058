//go:build linux

package virtqueue_test

import (
	"math"
	"testing"

	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/driver"
	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/virtqueue"
)

const memorySize = 64 << 10

// mapped returns a guest's memory, and the device's mapping of it.
func mapped(t *testing.T) (*driver.Memory, *virtqueue.Memory) {
	t.Helper()
	guest, mem := driver.NewMemory(t, memorySize), &virtqueue.Memory{}
	if err := mem.Map(guest.FD, guest.Region()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(mem.Unmap)
	return guest, mem
}

func TestMemoryIsShared(t *testing.T) {
	guest, mem := mapped(t)
	guest.Bytes[100] = 'a'
	b, err := mem.Guest(driver.GuestBase+100, 2)
	if err != nil || b[0] != 'a' {
		t.Fatalf("Guest() = %q, %v, want a", b, err)
	}
	b, err = mem.User(driver.UserBase+101, 1)
	if err != nil {
		t.Fatal(err)
	}
	b[0] = 'b'
	if guest.Bytes[101] != 'b' {
		t.Errorf("the guest sees %q, want b", guest.Bytes[101])
	}
}

func TestMemoryBounds(t *testing.T) {
	_, mem := mapped(t)
	for _, test := range []struct {
		name    string
		addr, n uint64
		ok      bool
	}{
		{"all", driver.GuestBase, memorySize, true},
		{"the last byte", driver.GuestBase + memorySize - 1, 1, true},
		{"one byte too many", driver.GuestBase, memorySize + 1, false},
		{"across the end", driver.GuestBase + memorySize - 1, 2, false},
		{"behind the end", driver.GuestBase + memorySize, 1, false},
		{"nothing behind the end", driver.GuestBase + memorySize, 0, false},
		{"before the beginning", driver.GuestBase - 1, 2, false},
		{"null", 0, 1, false},
		{"a length that overflows", driver.GuestBase + 1, math.MaxUint64, false},
		{"the last address", math.MaxUint64, 1, false},
	} {
		b, err := mem.Guest(test.addr, test.n)
		if (err == nil) != test.ok || err == nil && uint64(len(b)) != test.n {
			t.Errorf("%s: Guest(%#x, %#x) = %d bytes, %v, want ok %v", test.name, test.addr, test.n, len(b), err, test.ok)
		}
	}
}

func TestMemoryWithTwoRegions(t *testing.T) {
	guest, mem := driver.NewMemory(t, memorySize), &virtqueue.Memory{}
	defer mem.Unmap()
	for _, r := range []virtqueue.Region{
		{Guest: 0x1000, User: 0x1000, Size: 0x1000, Offset: 0},
		{Guest: 0x2000, User: 0x9000, Size: 0x1000, Offset: 0x4000},
	} {
		if err := mem.Map(guest.FD, r); err != nil {
			t.Fatal(err)
		}
	}
	guest.Bytes[0x4010] = 'x'
	if b, err := mem.Guest(0x2010, 1); err != nil || b[0] != 'x' {
		t.Errorf("Guest(0x2010) = %q, %v, want x of the second region", b, err)
	}
	if b, err := mem.Guest(0x1ff0, 0x20); err == nil {
		t.Errorf("Guest() across two regions = %d bytes, want an error", len(b))
	}
}

func TestMapRejectsRegionsOutsideTheirFile(t *testing.T) {
	guest, mem := driver.NewMemory(t, memorySize), &virtqueue.Memory{}
	defer mem.Unmap()
	for _, r := range []virtqueue.Region{
		{Size: 0},
		{Size: memorySize + 1},
		{Size: memorySize, Offset: 1},
		{Size: 1 << 60},
		{Size: 1, Offset: math.MaxUint64},
	} {
		if err := mem.Map(guest.FD, r); err == nil {
			t.Errorf("Map(%+v) = nil, want an error", r)
		}
	}
	if err := mem.Map(-1, virtqueue.Region{Size: 1}); err == nil {
		t.Error("Map() of no file = nil, want an error")
	}
}
