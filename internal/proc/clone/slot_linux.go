package clone

import (
	"math"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A slot is memory that this program and a child share until the child's execve. It is
// not the Go runtime's: a child that cannot be killed may use it for ever. It has, in
// this order, a header, the steps, the strings and lists that those point to, and at its
// end the stack that clone3 demands.
type slot struct {
	memory []byte
	used   int
	steps  int // written
	room   int // for steps
	names  []name
	pid    int  // of the child; 0: not started
	apart  bool // the child has this memory, but a copy of the rest of this program's
}

// A name tells people about a step.
type name struct{ step, path string }

// A header is written by the child, if not by the kernel. The assembler knows its first
// field and its size.
type header struct {
	at    uintptr // address of the step under way; 0: none has begun
	word  uint32  // the kernel clears it when the child gives the memory up (CLONE_CHILD_CLEARTID)
	pidfd int32
}

// cloneArgs is struct clone_args of linux/sched.h.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// A step is a system call. The assembler knows its layout.
type step struct {
	number    uintptr
	arguments [6]uintptr
	tolerated uint64 // bit n: go on after errno n; bit 63: after any from 63 on
	result    int64  // pending until the call returns
}

const (
	headerSize = 64
	stepSize   = 72
	slotSize   = 64 << 10
	stackSize  = 4 << 10

	pending   = math.MinInt64
	anyErrno  = math.MaxUint64
	exitError = 253 // exit status of a child that has failed
)

func newSlot(size int) (*slot, error) {
	memory, err := mapMemory(size, unix.MAP_PRIVATE)
	return &slot{memory: memory}, err
}

// newApart returns a slot for a child that shares nothing else with this program.
func newApart(size int) (*slot, error) {
	memory, err := mapMemory(size, unix.MAP_SHARED)
	return &slot{memory: memory, apart: true}, err
}

func mapMemory(size, flag int) ([]byte, error) {
	size = (size + os.Getpagesize() - 1) &^ (os.Getpagesize() - 1)
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, flag|unix.MAP_ANONYMOUS)
	return memory, os.NewSyscallError("mmap", err)
}

func (s *slot) unmap() { _ = unix.Munmap(s.memory) }

// reset makes room for that many steps.
func (s *slot) reset(room int) {
	s.steps, s.room, s.names, s.pid = 0, room, s.names[:0], 0
	s.used = headerSize + room*stepSize
	h := s.header()
	atomic.StoreUintptr(&h.at, 0)
	atomic.StoreUint32(&h.word, 1)
	h.pidfd = -1
}

func (s *slot) at(offset int) unsafe.Pointer { return unsafe.Pointer(&s.memory[offset]) }

func (s *slot) header() *header { return (*header)(s.at(0)) }

func (s *slot) step(i int) *step { return (*step)(s.at(headerSize + i*stepSize)) }

// left says whether the child has given the memory up.
func (s *slot) left() bool {
	if s.apart {
		flags, ok := flagsOf(s.pid)
		return ok && (flags&flagNotExecuted == 0 || flags&flagExiting != 0)
	}
	return atomic.LoadUint32(&s.header().word) == 0
}

// add appends a step to the table.
func (s *slot) add(n name, tolerated uint64, number uintptr, arguments ...uintptr) {
	if s.steps == s.room {
		panic("clone: more steps than reckoned")
	}
	to := s.step(s.steps)
	*to = step{number: number, tolerated: tolerated, result: pending}
	copy(to.arguments[:], arguments)
	s.names = append(s.names, n)
	s.steps++
}

// call is add for a system call without a path, none of whose errors is tolerated.
func (s *slot) call(step string, number uintptr, arguments ...uintptr) {
	s.add(name{step: step}, 0, number, arguments...)
}

// text copies a string to the slot, as C has them, and returns its address there.
func (s *slot) text(str string) uintptr {
	at := s.reserve(len(str)+1, 1)
	s.memory[at+copy(s.memory[at:], str)] = 0
	return uintptr(s.at(at))
}

// list is text for a list of strings.
func (s *slot) list(all []string) uintptr {
	at := s.reserve(8*(len(all)+1), 8)
	addresses := unsafe.Slice((*uintptr)(s.at(at)), len(all)+1)
	for i, str := range all {
		addresses[i] = s.text(str)
	}
	addresses[len(all)] = 0
	return uintptr(s.at(at))
}

func (s *slot) numbers(all []uint32) uintptr {
	at := s.reserve(4*len(all)+4, 8)
	copy(unsafe.Slice((*uint32)(s.at(at)), len(all)+1), all)
	return uintptr(s.at(at))
}

// reserve returns the offset of n bytes.
func (s *slot) reserve(n, align int) int {
	at := (s.used + align - 1) &^ (align - 1)
	s.used = at + n
	return at
}

// current returns the step under way, or that the child has ended in; -1: none.
func (s *slot) current() int {
	at := atomic.LoadUintptr(&s.header().at)
	if at == 0 {
		return -1
	}
	return int(at-uintptr(s.at(headerSize))) / stepSize
}

func (s *slot) result(i int) int64 { return atomic.LoadInt64(&s.step(i).result) }

// errno returns the error of a step, 0 if there is none.
func (s *slot) errno(i int) unix.Errno {
	if r := s.result(i); r < 0 && r != pending {
		return unix.Errno(-r)
	}
	return 0
}

// where names the step under way.
func (s *slot) where() name {
	if i := s.current(); i >= 0 {
		return s.names[i]
	}
	return name{step: "a cgroup or a signal, before its first step"}
}

// slots keeps a few slots for the next starts. The others are unmapped.
type slots struct {
	mu   sync.Mutex
	free []*slot
}

const maxFree = 16

func (p *slots) get(size int) (*slot, error) {
	if size > slotSize {
		return newSlot(size)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.free)
	if n == 0 {
		return newSlot(slotSize)
	}
	s := p.free[n-1]
	p.free = p.free[:n-1]
	return s, nil
}

// put takes back a slot that its child has given up.
func (p *slots) put(s *slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.apart && len(s.memory) == slotSize && len(p.free) < maxFree {
		p.free = append(p.free, s)
		return
	}
	s.unmap()
}

func (p *slots) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.free {
		s.unmap()
	}
	p.free = nil
}
