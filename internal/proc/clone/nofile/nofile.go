// Package nofile knows the limit of open files that this program was started with.
// Package syscall raises it before any other package could look. This package imports
// nothing, and its path sorts before syscall's, so that it is initialized first (the Go
// specification, "Program initialization").
package nofile

// A Limit is RLIMIT_NOFILE as getrlimit(2) has it: struct rlimit64 of the kernel.
type Limit struct{ Soft, Hard uint64 }

// Initial returns the limit. It is not ok if it is not known.
func Initial() (l Limit, ok bool) { return initial, known }
