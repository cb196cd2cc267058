package guest

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

var (
	kernel32             = windows.NewLazySystemDLL("kernel32.dll")
	globalMemoryStatusEx = kernel32.NewProc("GlobalMemoryStatusEx")
	getSystemTimes       = kernel32.NewProc("GetSystemTimes")
	getProcessMemoryInfo = kernel32.NewProc("K32GetProcessMemoryInfo")
)

func look() Info {
	version := windows.RtlGetVersion()
	i := Info{
		OS:     osName(version.BuildNumber),
		Kernel: fmt.Sprintf("%d.%d.%d", version.MajorVersion, version.MinorVersion, version.BuildNumber),
		BootID: BootID(), Uptime: windows.DurationSinceBoot(),
		CPUs:    int(windows.GetActiveProcessorCount(windows.ALL_PROCESSOR_GROUPS)),
		CPUTime: cpuTime(),
	}
	i.Hostname, _ = os.Hostname()
	i.MemoryTotal, i.MemoryAvailable = memory()
	i.Clock = time.Now()
	return i
}

// firstWindows11 is the build of the first Windows 11, which calls itself Windows 10 here.
const firstWindows11 = 22000

func osName(build uint32) string {
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, `SOFTWARE\Microsoft\Windows NT\CurrentVersion`, registry.QUERY_VALUE)
	if err != nil {
		return runtime.GOOS
	}
	defer key.Close()
	name, _, err := key.GetStringValue("ProductName")
	if err != nil || name == "" {
		return runtime.GOOS
	}
	if rest, ok := strings.CutPrefix(name, "Windows 10"); ok && build >= firstWindows11 {
		return "Windows 11" + rest
	}
	return name
}

// memory returns how many bytes there are, and how many are left for new processes.
func memory() (total, available uint64) {
	status := struct { // MEMORYSTATUSEX
		length, load                                 uint32
		total, available                             uint64
		totalPage, availablePage                     uint64
		totalVirtual, availableVirtual, availableExt uint64
	}{}
	status.length = uint32(unsafe.Sizeof(status))
	if ok, _, _ := globalMemoryStatusEx.Call(uintptr(unsafe.Pointer(&status))); ok == 0 {
		return 0, 0
	}
	return status.total, status.available
}

// cpuTime is that of all CPUs. The kernel's time includes what they idled.
func cpuTime() time.Duration {
	var idle, kernel, user windows.Filetime
	ok, _, _ := getSystemTimes.Call(uintptr(unsafe.Pointer(&idle)), uintptr(unsafe.Pointer(&kernel)), uintptr(unsafe.Pointer(&user)))
	if ok == 0 {
		return 0
	}
	return max(span(kernel)-span(idle), 0) + span(user)
}

// span returns a Filetime that is a length of time.
func span(t windows.Filetime) time.Duration {
	return time.Duration(uint64(t.HighDateTime)<<32|uint64(t.LowDateTime)) * 100
}

func rss() uint64 {
	counters := struct { // PROCESS_MEMORY_COUNTERS
		size, faults                             uint32
		peak, workingSet                         uintptr
		peakPaged, paged, peakNonPaged, nonPaged uintptr
		pagefile, peakPagefile                   uintptr
	}{}
	counters.size = uint32(unsafe.Sizeof(counters))
	ok, _, _ := getProcessMemoryInfo.Call(uintptr(windows.CurrentProcess()), uintptr(unsafe.Pointer(&counters)), uintptr(counters.size))
	if ok == 0 {
		return 0
	}
	return uint64(counters.workingSet)
}
