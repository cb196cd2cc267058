package guest

import (
	"bufio"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func look() Info {
	i := Info{OS: osName(), BootID: BootID(), CPUs: onlineCPUs(), CPUTime: cpuTime(), Load: load()}
	i.Hostname, _ = os.Hostname()
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		i.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	var up unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &up) == nil {
		i.Uptime = time.Duration(up.Nano())
	}
	memory := keys("/proc/meminfo", ":")
	i.MemoryTotal, i.MemoryAvailable = kibibytes(memory["MemTotal"]), kibibytes(memory["MemAvailable"])
	i.Clock = time.Now()
	return i
}

func osName() string {
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		if name := strings.Trim(keys(path, "=")["PRETTY_NAME"], `"'`); name != "" {
			return name
		}
	}
	return runtime.GOOS
}

// onlineCPUs counts what /sys says, of the form 0-3,5. The agent's own affinity
// need not be all.
func onlineCPUs() int {
	text, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return runtime.NumCPU()
	}
	n := 0
	for part := range strings.SplitSeq(strings.TrimSpace(string(text)), ",") {
		first, last, ok := strings.Cut(part, "-")
		if !ok {
			last = first
		}
		a, errA := strconv.Atoi(first)
		b, errB := strconv.Atoi(last)
		if errA != nil || errB != nil {
			return runtime.NumCPU()
		}
		n += b - a + 1
	}
	return n
}

func load() (hundredths [3]uint64) {
	text, _ := os.ReadFile("/proc/loadavg") // 0.20 0.18 0.12 1/80 11206
	fields := strings.Fields(string(text))
	for i := range min(len(fields), len(hundredths)) {
		whole, part, _ := strings.Cut(fields[i], ".")
		hundredths[i], _ = strconv.ParseUint(whole+part, 10, 64)
	}
	return hundredths
}

// tick is the unit of proc_stat(5), USER_HZ, which Linux has on all that Go runs on.
const tick = 10 * time.Millisecond

func cpuTime() time.Duration {
	text, _ := os.ReadFile("/proc/stat") // cpu  user nice system idle iowait irq softirq steal guest guest_nice
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	var ticks uint64
	for _, i := range []int{1, 2, 3, 6, 7} {
		if i < len(fields) {
			n, _ := strconv.ParseUint(fields[i], 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * tick
}

func rss() uint64 {
	text, _ := os.ReadFile("/proc/self/statm") // size resident …, in pages
	if fields := strings.Fields(string(text)); len(fields) > 1 {
		n, _ := strconv.ParseUint(fields[1], 10, 64)
		return n * uint64(os.Getpagesize())
	}
	return 0
}

func kibibytes(text string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSuffix(text, " kB"), 10, 64)
	return n << 10
}

// keys reads lines of a key, a separator and a value.
func keys(path, separator string) map[string]string {
	all := make(map[string]string)
	f, err := os.Open(path)
	if err != nil {
		return all
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		if key, value, ok := strings.Cut(in.Text(), separator); ok {
			all[key] = strings.TrimSpace(value)
		}
	}
	return all
}
