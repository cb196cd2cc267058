package proc

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/windows"
)

// A jobObject holds a process tree. No process that is started in it can leave it.
type jobObject struct {
	handle windows.Handle
	limits Limits
}

// openJob makes a job object with limits. Its processes end when the agent does.
func openJob(l Limits) (jobObject, error) {
	h, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return jobObject{}, os.NewSyscallError("CreateJobObject", err)
	}
	j := jobObject{h, l}
	if err := j.limit(windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE); err != nil {
		j.close()
		return jobObject{}, err
	}
	if err := j.limitCPU(); err != nil {
		j.close()
		return jobObject{}, err
	}
	return j, nil
}

// limit sets all limits but that of the CPU, and flags.
func (j jobObject) limit(flags uint32) error {
	info := limitInformation(j.limits, flags)
	err := j.set(windows.JobObjectExtendedLimitInformation, unsafe.Pointer(&info), unsafe.Sizeof(info))
	if err != nil && j.limits != (Limits{}) {
		return limitsError{err}
	}
	return err
}

// limitInformation is what limit sets. Windows counts processes, and not threads.
func limitInformation(l Limits, flags uint32) (info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION) {
	basic := &info.BasicLimitInformation
	basic.LimitFlags = windows.JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION | flags
	if l.Memory > 0 {
		basic.LimitFlags |= windows.JOB_OBJECT_LIMIT_JOB_MEMORY
		info.JobMemoryLimit = uintptr(l.Memory)
	}
	if l.PIDs > 0 {
		basic.LimitFlags |= windows.JOB_OBJECT_LIMIT_ACTIVE_PROCESS
		basic.ActiveProcessLimit = uint32(l.PIDs)
	}
	return info
}

// A cpuRate is JOBOBJECT_CPU_RATE_CONTROL_INFORMATION.
type cpuRate struct {
	flags uint32
	rate  uint32 // in hundredths of a per cent of all CPUs
}

const cpuRateEnable, cpuRateHardCap = 0x1, 0x4

func (j jobObject) limitCPU() error {
	milli := j.limits.CPU
	if milli == 0 {
		return nil
	}
	most := int64(runtime.NumCPU()) * 1000
	r := cpuRate{cpuRateEnable | cpuRateHardCap, uint32(max(1, min(milli, most)*10_000/most))}
	if err := j.set(windows.JobObjectCpuRateControlInformation, unsafe.Pointer(&r), unsafe.Sizeof(r)); err != nil {
		return limitsError{fmt.Errorf("cpu: %w", err)}
	}
	return nil
}

// Those of package windows take pointers as numbers, and a stack may move meanwhile.
var (
	setInformation   = kernel32.NewProc("SetInformationJobObject")
	queryInformation = kernel32.NewProc("QueryInformationJobObject")
)

func (j jobObject) set(class uint32, info unsafe.Pointer, size uintptr) error {
	if ok, _, err := setInformation.Call(uintptr(j.handle), uintptr(class), uintptr(info), size); ok == 0 {
		return os.NewSyscallError("SetInformationJobObject", err)
	}
	return nil
}

// terminate ends all that is in the job.
func (j jobObject) terminate(code uint32) error {
	return os.NewSyscallError("TerminateJobObject", windows.TerminateJobObject(j.handle, code))
}

// A processList is JOBOBJECT_BASIC_PROCESS_ID_LIST, with room for one pid.
type processList struct {
	assigned, listed uint32
	pid              uintptr
}

// empty reports whether nothing runs in the job.
func (j jobObject) empty() bool {
	var list processList
	ok, _, err := queryInformation.Call(uintptr(j.handle), windows.JobObjectBasicProcessIdList, uintptr(unsafe.Pointer(&list)), unsafe.Sizeof(list), 0)
	return (ok != 0 || errors.Is(err, windows.ERROR_MORE_DATA)) && list.assigned == 0
}

// release lets go of the job. Processes that still run in it live on, as daemons do.
func (j jobObject) release() {
	if !j.empty() {
		_ = j.limit(0)
	}
	j.close()
}

func (j jobObject) close() { _ = windows.CloseHandle(j.handle) }
