//go:build amd64 || arm64 || riscv64

package deadman

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The Go runtime's handler of SIGTERM notes the signal for goroutines. If none runs,
// nothing tells that there was one. So another handler is put before it, which marks the
// page, and goes on to the runtime's.

// Of the handler, which is in assembler.
var (
	markedPage  uintptr //nolint:unused // by Go code
	nextHandler uintptr
)

// A sigaction is the kernel's. Its first word is the handler; the others differ by
// architecture.
type sigaction [4]uintptr

const (
	sigDefault = 0
	sigIgnore  = 1
)

// catch puts the handler before the one that the runtime has for SIGTERM. Without
// signal.Notify there is none, and SIGTERM ends the program.
func (p *page) catch() {
	var a sigaction
	handle(nil, &a)
	if a[0] == sigDefault || a[0] == sigIgnore || a[0] == markerPC() {
		return
	}
	markedPage, nextHandler = uintptr(unsafe.Pointer(p)), a[0]
	a[0] = markerPC()
	handle(&a, nil)
}

// uncatch takes the handler away, if it is still there.
func (*page) uncatch() {
	var a sigaction
	handle(nil, &a)
	if a[0] == markerPC() {
		a[0] = nextHandler
		handle(&a, nil)
	}
}

func handle(action, before *sigaction) {
	const setSize = 8
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGTERM),
		uintptr(unsafe.Pointer(action)), uintptr(unsafe.Pointer(before)), setSize, 0, 0)
}

// markerPC returns the address of the handler.
func markerPC() uintptr
