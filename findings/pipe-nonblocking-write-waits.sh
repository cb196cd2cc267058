#!/usr/bin/env bash
# Guess:  a write to a pipe with O_NONBLOCK returns at once: what fits is taken, and EAGAIN says that
#         nothing fits.
# Seen:   it waits as long as a read of the same pipe waits for memory. The reader holds the pipe's lock
#         while the kernel copies to the reader's buffer. That may be a page that is not there: swapped
#         out, on a file system that does not answer, or, as here, a page of userfaultfd(2). So the reader of
#         a pipe can hold up the thread that writes to it. poll(2) does not help: the pipe is writable.
# With:   Linux 6.18, Go 1.26, amd64 or arm64.
# Needs:  Go, root.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

cat >"$dir/main.go" <<'GO'
package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

var userfaultfd = map[string]uintptr{"amd64": 323, "arm64": 282}[runtime.GOARCH]

// Requests of ioctl_userfaultfd(2).
const (
	uffdAPI      = 0xc018aa3f
	uffdRegister = 0xc020aa00
	uffdZeroPage = 0xc020aa04
)

func check(what string, errno syscall.Errno) {
	if errno != 0 {
		fmt.Fprintln(os.Stderr, what+":", errno)
		os.Exit(1)
	}
}

func control(fd uintptr, request uintptr, words ...uint64) {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(&words[0])))
	check("ioctl", errno)
}

func main() {
	size := os.Getpagesize()
	page, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		panic(err)
	}
	fd, _, errno := syscall.Syscall(userfaultfd, syscall.O_CLOEXEC, 0, 0)
	check("userfaultfd", errno)
	control(fd, uffdAPI, 0xaa, 0, 0)
	start := uint64(uintptr(unsafe.Pointer(&page[0])))
	control(fd, uffdRegister, start, uint64(size), 1, 0) // MODE_MISSING

	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil {
		panic(err)
	}
	if err := syscall.SetNonblock(pipe[1], true); err != nil {
		panic(err)
	}
	if _, err := syscall.Write(pipe[1], []byte("x")); err != nil {
		panic(err)
	}
	read := make(chan int)
	go func() {
		n, _ := syscall.Read(pipe[0], page) // the page is not there
		read <- n
	}()
	var event [32]byte
	if _, err := syscall.Read(int(fd), event[:]); err != nil { // until the reader waits for it
		panic(err)
	}
	written := make(chan int)
	go func() {
		n, _ := syscall.Write(pipe[1], []byte("y"))
		written <- n
	}()
	select {
	case <-written:
		fmt.Println("the write returns at once")
	case <-time.After(2 * time.Second):
		fmt.Println("the write has waited for 2 s")
	}
	control(fd, uffdZeroPage, start, uint64(size), 0, 0)
	fmt.Println("the reader has its page, and", <-read, "byte")
	fmt.Println("the write has returned", <-written)
}
GO
go run "$dir/main.go" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
the write has waited for 2 s
the reader has its page, and 1 byte
the write has returned 1
SEEN
