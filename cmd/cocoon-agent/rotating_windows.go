package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"unsafe"

	"golang.org/x/sys/windows"
)

const (
	// maxLog is how long a log file becomes, in bytes, and oldLogs how many older ones there are.
	maxLog  = 10 << 20
	oldLogs = 4
)

// defaultLogFile is the log of a service. It is where the program is: in %ProgramData% any user of
// the guest could make the directory first, and have the agent write to a file of his choice.
func defaultLogFile() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	return filepath.Join(filepath.Dir(self), "logs", "agent.log")
}

// makePrivate makes a directory that only the system and administrators can read. One that is there
// stays as it is, but may be no link.
func makePrivate(directory string) error {
	if info, err := os.Lstat(directory); err == nil {
		if !info.IsDir() || info.Mode()&(os.ModeSymlink|os.ModeIrregular) != 0 {
			return fmt.Errorf("%s is a link or not a directory", directory)
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(directory), 0o755); err != nil {
		return err
	}
	d, err := windows.SecurityDescriptorFromString("D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;OW)")
	if err != nil {
		return fmt.Errorf("security descriptor: %w", err)
	}
	a := &windows.SecurityAttributes{SecurityDescriptor: d}
	a.Length = uint32(unsafe.Sizeof(*a))
	name, err := windows.UTF16PtrFromString(directory)
	if err == nil {
		err = windows.CreateDirectory(name, a)
	}
	if errors.Is(err, windows.ERROR_ALREADY_EXISTS) {
		return nil
	}
	return err
}

// crashLog is the file beside the log that has what Go's runtime prints when the agent crashes.
const crashLog = "crash.log"

// maxCrashLog is how long that file may be for another crash to be appended to it, in bytes. A
// longer one becomes FILE.0.
const maxCrashLog = 1 << 20

// keepCrashes has the runtime append to a file when the program crashes. A service has no standard
// error.
func keepCrashes(path string) error {
	if info, err := os.Stat(path); err == nil && info.Size() > maxCrashLog {
		_ = os.Rename(path, path+".0") // else it becomes longer
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(debug.SetCrashOutput(f, debug.CrashOptions{}), f.Close())
}

// A rotating file makes room for itself when it is long: FILE becomes FILE.1, that FILE.2, and so
// on. A file that cannot be renamed, as somebody has it open, becomes longer.
type rotating struct {
	path string
	max  int64

	mu    sync.Mutex
	file  *os.File
	size  int64
	limit int64 // at which room is made
}

// openRotating opens a file to append to it, and makes its directory.
func openRotating(path string) (*rotating, error) {
	if err := makePrivate(filepath.Dir(path)); err != nil {
		return nil, err
	}
	r := &rotating{path: path, max: maxLog, limit: maxLog}
	if err := r.open(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *rotating) open() error {
	f, err := os.OpenFile(r.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.file, r.size = f, info.Size()
	return nil
}

// Write appends whole lines.
func (r *rotating) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil || r.size > 0 && r.size+int64(len(p)) > r.limit {
		if err := r.rotateLocked(); err != nil {
			return 0, err
		}
	}
	n, err := r.file.Write(p)
	r.size += int64(n)
	return n, err
}

// rotateLocked makes room. If it cannot, it tries again when the file is longer by as much again.
func (r *rotating) rotateLocked() error {
	if r.file != nil {
		_ = r.file.Close()
		r.file = nil
	}
	r.limit = r.max
	if err := os.Rename(r.path, r.old(0)); err == nil {
		for i := oldLogs; i > 0; i-- {
			_ = os.Rename(r.old(i-1), r.old(i)) // it may not be there
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		r.limit = r.size + r.max
	}
	return r.open()
}

func (r *rotating) old(i int) string { return fmt.Sprintf("%s.%d", r.path, i) }

func (r *rotating) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file != nil {
		_ = r.file.Close()
		r.file = nil
	}
}
