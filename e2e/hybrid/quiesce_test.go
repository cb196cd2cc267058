//go:build e2e && linux

package hybrid_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

// counts reports whether a command that makes a file longer all the time does.
func (vm *vm) counts(t *testing.T) bool {
	t.Helper()
	got := vm.Client(t, nil, "sh", "-c", "a=$(wc -c </tmp/count); sleep 1; test $a -ne $(wc -c </tmp/count)")
	return got.Status == 0
}

// quiesce stops all commands.
func (vm *vm) quiesce(t *testing.T, within time.Duration) {
	t.Helper()
	if steps, err := vm.Dial(t).Quiesce(t.Context(), client.QuiesceOptions{FreezeExecs: true, Timeout: within}); err != nil {
		t.Fatalf("Quiesce = %v, %+v", err, steps)
	}
}

func (vm *vm) thaw(t *testing.T, held bool, by string) {
	t.Helper()
	thawed, err := vm.Dial(t).Thaw(t.Context())
	if err != nil || thawed.Held != held || thawed.By != by {
		t.Errorf("Thaw = %+v, %v, want held: %v, by %q", thawed, err, held, by)
	}
}

// A guest holds still while its VM is paused, for longer than it would, and when a snapshot of its
// memory is taken. Each clone goes on when it is made a machine of its own.
func TestQuiescedGuestIsPausedAndCloned(t *testing.T) {
	guest, qemu, m := bootMonitored(t)
	counting := guest.Dial(t).Command("sh", "-c", "while sleep 0.1; do echo x; done >/tmp/count")
	counting.Outlive.Detach = true
	if err := counting.Start(); err != nil {
		t.Fatal(err)
	}
	if !guest.counts(t) {
		t.Fatal("the command does not count")
	}
	const within = 4 * time.Second
	guest.quiesce(t, within)
	m.do("stop", nil)
	<-time.After(within + time.Second) // of the host
	m.do("cont", nil)
	guest.thaw(t, true, "host")

	guest.quiesce(t, 10*time.Minute)
	state := hibernate(t, qemu, m)
	for _, name := range []string{"clone-1", "clone-2"} {
		t.Run(name, func(t *testing.T) {
			clone := restore(t, state)
			if got := clone.Client(t, nil, "true"); got.Status != 255 || !strings.Contains(got.Stderr, "the guest is quiesced") {
				t.Errorf("a command in a clone that holds still: %+v", got)
			}
			if _, err := clone.Dial(t).ReseedWith(t.Context(), client.ReseedOptions{}); err != nil {
				t.Error(err)
			}
			if !clone.counts(t) {
				t.Error("the command does not go on in the clone")
			}
			clone.thaw(t, false, "reseed")
		})
	}
}
