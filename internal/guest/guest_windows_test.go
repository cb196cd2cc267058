package guest_test

import (
	"errors"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/guest"
)

func TestLookInWindows(t *testing.T) {
	i := guest.Look()
	if hostname, err := os.Hostname(); err != nil || i.Hostname != hostname {
		t.Errorf("hostname %q, want %q, %v", i.Hostname, hostname, err)
	}
	if !regexp.MustCompile(`^Windows|^Microsoft`).MatchString(i.OS) || !regexp.MustCompile(`^\d+\.\d+\.\d+$`).MatchString(i.Kernel) {
		t.Errorf("system %q, kernel %q", i.OS, i.Kernel)
	}
	if i.CPUs < 1 || i.MemoryTotal < 64<<20 || i.MemoryAvailable == 0 || i.MemoryAvailable > i.MemoryTotal || guest.RSS() < 1<<20 {
		t.Errorf("%d CPUs, %d of %d bytes available, %d of them this program's", i.CPUs, i.MemoryAvailable, i.MemoryTotal, guest.RSS())
	}
	if i.Uptime <= 0 || i.CPUTime <= 0 || time.Since(i.Clock).Abs() > time.Minute {
		t.Errorf("up for %v, CPU time %v, clock %v", i.Uptime, i.CPUTime, i.Clock)
	}
}

// The boot id is kept outside the program, until the next boot.
func TestBootIDOutlivesTheAgent(t *testing.T) {
	id := guest.BootID()
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) {
		t.Errorf("boot id %q, want a random UUID", id)
	}
	if again := guest.ReadBootID(); again != id {
		t.Errorf("boot id %q, and then %q", id, again)
	}
}

// The clock is only tried backwards: Wine would set the machine's.
func TestReseedInWindowsSaysWhatItHasNot(t *testing.T) {
	steps, err := guest.Reseed(guest.Seed{
		Entropy: make([]byte, 32), MachineID: true, SSHKeys: true, Hostname: "clone-1",
		Clock: time.Now().Add(-time.Hour), Received: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		name        string
		changed     bool
		unsupported bool
	}{
		{"entropy", false, true},
		{"random_seed", false, false},
		{"machine_id", false, true},
		{"dbus_id", false, false},
		{"clock", false, false},
		{"hostname", true, false},
		{"ssh_keys", false, true},
	}
	if len(steps) != len(want) {
		t.Fatalf("Reseed takes the steps %+v, want %+v", steps, want)
	}
	for i, w := range want {
		s := steps[i]
		if s.Name != w.name || s.Changed != w.changed || errors.Is(s.Err, guest.ErrUnsupported) != w.unsupported || s.Err == nil && s.Note == "" {
			t.Errorf("step %+v, want %+v", s, w)
		}
	}
}
