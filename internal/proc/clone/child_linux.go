//go:build amd64 || arm64 || riscv64

package clone

import "unsafe"

// clone3 is clone3(2) for a child that carries out a table. It returns the pid, or the
// negative errno.
//
//go:noescape
func clone3(args unsafe.Pointer, size uintptr, table unsafe.Pointer) (pid int)

// interpret carries out a table in this process, for tests, and does not return.
//
//go:noescape
func interpret(table unsafe.Pointer)
