#include "go_asm.h"
#include "textflag.h"

#define SYS_nanosleep 35
#define SYS_clone 56
#define SYS_exit 60
#define SYS_kill 62
#define SYS_prctl 157
#define SYS_futex 202
#define SYS_clock_gettime 228

#define CLOCK_MONOTONIC 1
#define FUTEX_WAIT 0
#define PR_SET_DUMPABLE 4
#define SIGABRT 6
#define SIGKILL 9

// func clone(flags, stack, tid, page uintptr) (r int)
TEXT ·clone(SB), NOSPLIT|NOFRAME, $0-40
	MOVQ flags+0(FP), DI
	MOVQ stack+8(FP), SI
	MOVQ tid+16(FP), DX  // parent_tid
	MOVQ tid+16(FP), R10 // child_tid
	MOVQ $0, R8
	MOVQ page+24(FP), R12
	MOVQ $SYS_clone, AX
	SYSCALL
	TESTQ AX, AX
	JZ    thread
	MOVQ AX, r+32(FP)
	RET

thread:
	JMP watch<>(SB)

// watch is the thread: it has no g and uses no stack.
// R12: page. R13: pace. R14: rounds without a beat. R15: rounds with a SIGTERM.
// BX: beats seen. R8: when the round began. A system call changes AX, CX and R11.
TEXT watch<>(SB), NOSPLIT|NOFRAME, $0-0
	XORQ R14, R14
	XORQ R15, R15
	MOVQ page_beats(R12), BX

calm:
	LEAQ page_calm(R12), R13

round:
	MOVQ $SYS_clock_gettime, AX
	MOVQ $CLOCK_MONOTONIC, DI
	LEAQ page_now(R12), SI
	SYSCALL
	MOVQ page_now(R12), R8
	IMULQ $1000000000, R8
	ADDQ (page_now+8)(R12), R8

	MOVQ $SYS_futex, AX
	LEAQ page_order(R12), DI
	MOVQ $FUTEX_WAIT, SI
	MOVQ $0, DX
	MOVQ R13, R10
	SYSCALL
	MOVL page_order(R12), AX
	CMPL AX, $const_orderExit
	JEQ exit
	CMPL AX, $const_orderAbort
	JEQ abort

	MOVQ $SYS_clock_gettime, AX
	MOVQ $CLOCK_MONOTONIC, DI
	LEAQ page_now(R12), SI
	SYSCALL
	MOVQ page_now(R12), AX
	IMULQ $1000000000, AX
	ADDQ (page_now+8)(R12), AX
	SUBQ R8, AX
	MOVQ $1, DX           // what the round counts
	CMPQ AX, pace_most(R13)
	JLE beats
	MOVQ $0, DX

beats:
	MOVQ page_beats(R12), AX
	CMPQ AX, BX
	JEQ missed
	MOVQ AX, BX
	MOVQ $0, R14
	JMP term

missed:
	ADDQ DX, R14

term:
	CMPQ page_term(R12), $0
	JNE late
	MOVQ $0, R15
	JMP judge

late:
	ADDQ DX, R15

judge:
	CMPQ R14, page_missed(R12)
	JCC abort
	CMPQ R15, page_late(R12)
	JCC abort
	MOVQ R14, AX
	ORQ R15, AX
	JZ calm
	LEAQ page_short(R12), R13
	JMP round

abort:
	// A core would have what commands were given.
	MOVQ $SYS_prctl, AX
	MOVQ $PR_SET_DUMPABLE, DI
	MOVQ $0, SI
	SYSCALL
	MOVQ $SYS_kill, AX
	MOVQ page_pid(R12), DI
	MOVQ $SIGABRT, SI
	SYSCALL
	MOVQ $SYS_nanosleep, AX
	LEAQ page_last(R12), DI
	MOVQ $0, SI
	SYSCALL
	MOVQ $SYS_kill, AX
	MOVQ page_pid(R12), DI
	MOVQ $SIGKILL, SI
	SYSCALL
	JMP abort

exit:
	MOVQ $SYS_exit, AX
	MOVQ $0, DI
	SYSCALL
	JMP exit

// func markerPC() uintptr
TEXT ·markerPC(SB), NOSPLIT, $0-8
	LEAQ marker<>(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// marker is a signal handler: it keeps its arguments in DI, SI and DX.
TEXT marker<>(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ ·markedPage(SB), R11
	MOVQ $1, page_term(R11)
	MOVQ ·nextHandler(SB), R11
	JMP R11
