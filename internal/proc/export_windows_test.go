package proc

import (
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"
)

// LimitsOf returns the limits that a process's job has, and its flags.
func LimitsOf(tb testing.TB, p *Process) (Limits, uint32) {
	tb.Helper()
	var info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	err := windows.QueryInformationJobObject(p.job.handle, windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return limitsIn(info)
}

// LimitsSet returns what a job is told of limits.
func LimitsSet(l Limits) (Limits, uint32) {
	return limitsIn(limitInformation(l, windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE))
}

func limitsIn(info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION) (Limits, uint32) {
	basic := info.BasicLimitInformation
	return Limits{Memory: int64(info.JobMemoryLimit), PIDs: int64(basic.ActiveProcessLimit)}, basic.LimitFlags
}

// A Held holds calls of the system up.
type Held struct {
	Reached chan struct{} // has a token when it has been called
	free    chan struct{}
	once    sync.Once
}

// Release lets it go on.
func (h *Held) Release() { h.once.Do(func() { close(h.free) }) }

// HoldCreateProcess holds CreateProcess up until the test ends, or Release.
func HoldCreateProcess(tb testing.TB) *Held {
	tb.Helper()
	h := &Held{Reached: make(chan struct{}, 1), free: make(chan struct{})}
	create := createProcess
	createProcess = func(app, line *uint16, ps, ts *windows.SecurityAttributes, inherit bool, flags uint32, env, dir *uint16, si *windows.StartupInfo, pi *windows.ProcessInformation) error {
		h.Reached <- struct{}{}
		<-h.free
		return create(app, line, ps, ts, inherit, flags, env, dir, si, pi)
	}
	tb.Cleanup(func() {
		h.Release()
		createProcess = create
	})
	return h
}

// HoldResize holds each resizing of a pseudo-console up, likewise.
func HoldResize(tb testing.TB) *Held {
	tb.Helper()
	h := &Held{Reached: make(chan struct{}, 1), free: make(chan struct{})}
	resize := resizeConsole
	resizeConsole = func(windows.Handle, windows.Coord) error {
		h.Reached <- struct{}{}
		<-h.free
		return nil
	}
	tb.Cleanup(func() {
		h.Release()
		resizeConsole = resize
	})
	return h
}
