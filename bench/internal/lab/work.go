//go:build linux

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A Work is what the threads of a process have done so far, without its children.
type Work struct {
	CPU    time.Duration
	Slices int // of time, by all its threads: how often the kernel has had one run
}

// Work reads what the process has done.
func (p *Process) Work() (Work, error) { return workOf(p.PID()) }

// OwnWork is the benchmark's.
func OwnWork() (Work, error) { return workOf(os.Getpid()) }

// workOf uses clock_getcpuclockid(3) and /proc/PID/task/TID/schedstat.
func workOf(pid int) (w Work, err error) {
	const scheduler = 2 // CPUCLOCK_SCHED of linux/posix-timers_types.h
	var at unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|scheduler, &at); err != nil {
		return w, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	w.CPU = time.Duration(at.Nano())
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return w, err
	}
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		var ran, waited, slices int
		if _, err := fmt.Sscan(string(text), &ran, &waited, &slices); err != nil {
			return w, fmt.Errorf("%s: %w", path, err)
		}
		w.Slices += slices
	}
	return w, nil
}

// Since is what has been done since then.
func (w Work) Since(then Work) Work { return Work{w.CPU - then.CPU, w.Slices - then.Slices} }

// And adds the work of another process.
func (w Work) And(other Work) Work { return Work{w.CPU + other.CPU, w.Slices + other.Slices} }
