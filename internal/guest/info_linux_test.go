package guest_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/guest"
)

func TestLookSaysWhatTheSystemsOwnToolsSay(t *testing.T) {
	i := guest.Look()
	hostname, _ := os.Hostname()
	for what, pair := range map[string][2]string{
		"hostname": {i.Hostname, hostname},
		"kernel":   {i.Kernel, tool(t, "uname", "-r")},
		"CPUs":     {strconv.Itoa(i.CPUs), tool(t, "getconf", "_NPROCESSORS_ONLN")},
		"boot id":  {i.BootID, tool(t, "cat", "/proc/sys/kernel/random/boot_id")},
		"OS":       {i.OS, tool(t, "sh", "-c", ". /etc/os-release; echo $PRETTY_NAME")},
		"memory":   {strconv.FormatUint(i.MemoryTotal>>10, 10), tool(t, "awk", "/^MemTotal:/ { print $2 }", "/proc/meminfo")},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %q, want %q", what, pair[0], pair[1])
		}
	}
	if i.MemoryAvailable == 0 || i.MemoryAvailable > i.MemoryTotal {
		t.Errorf("memory: %d of %d available", i.MemoryAvailable, i.MemoryTotal)
	}
	if since := time.Since(i.Clock); since < 0 || since > time.Minute {
		t.Errorf("the clock is %v off", since)
	}
}

func TestLookSaysHowLongItIsUp(t *testing.T) {
	uptime := func() time.Duration {
		seconds, _, _ := strings.Cut(tool(t, "cat", "/proc/uptime"), " ")
		d, err := time.ParseDuration(seconds + "s")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	before := uptime()
	got := guest.Look().Uptime.Truncate(10 * time.Millisecond)
	if after := uptime(); got < before || got > after {
		t.Errorf("up for %v, /proc/uptime: %v to %v", got, before, after)
	}
}

func tool(t *testing.T, name string, arg ...string) string {
	t.Helper()
	out, err := exec.Command(name, arg...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
