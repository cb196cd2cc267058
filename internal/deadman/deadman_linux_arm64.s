#include "go_asm.h"
#include "textflag.h"

#define SYS_exit 93
#define SYS_futex 98
#define SYS_nanosleep 101
#define SYS_clock_gettime 113
#define SYS_kill 129
#define SYS_prctl 167
#define SYS_clone 220

#define CLOCK_MONOTONIC 1
#define FUTEX_WAIT 0
#define PR_SET_DUMPABLE 4
#define SIGABRT 6
#define SIGKILL 9

// func clone(flags, stack, tid, page uintptr) (r int)
TEXT ·clone(SB), NOSPLIT|NOFRAME, $0-40
	MOVD flags+0(FP), R0
	MOVD stack+8(FP), R1
	MOVD tid+16(FP), R2 // parent_tid
	MOVD $0, R3
	MOVD tid+16(FP), R4 // child_tid
	MOVD page+24(FP), R19
	MOVD $SYS_clone, R8
	SVC
	CBZ  R0, thread
	MOVD R0, r+32(FP)
	RET

thread:
	JMP watch<>(SB)

// watch is the thread: it has no g and uses no stack.
// R19: page. R20: pace. R21: rounds without a beat. R22: rounds with a SIGTERM.
// R23: beats seen. R24: when the round began. R25: 1000000000. A system call changes R0.
TEXT watch<>(SB), NOSPLIT|NOFRAME, $0-0
	MOVD $0, R21
	MOVD $0, R22
	MOVD $1000000000, R25
	MOVD page_beats(R19), R23

calm:
	ADD $page_calm, R19, R20

round:
	MOVD $SYS_clock_gettime, R8
	MOVD $CLOCK_MONOTONIC, R0
	ADD  $page_now, R19, R1
	SVC
	MOVD page_now(R19), R24
	MUL  R25, R24, R24
	MOVD (page_now+8)(R19), R0
	ADD  R0, R24, R24

	MOVD $SYS_futex, R8
	ADD  $page_order, R19, R0
	MOVD $FUTEX_WAIT, R1
	MOVD $0, R2
	MOVD R20, R3
	SVC
	MOVWU page_order(R19), R0
	CMP  $const_orderExit, R0
	BEQ  exit
	CMP  $const_orderAbort, R0
	BEQ  abort

	MOVD $SYS_clock_gettime, R8
	MOVD $CLOCK_MONOTONIC, R0
	ADD  $page_now, R19, R1
	SVC
	MOVD page_now(R19), R0
	MUL  R25, R0, R0
	MOVD (page_now+8)(R19), R1
	ADD  R1, R0, R0
	SUB  R24, R0, R0
	MOVD $1, R2           // what the round counts
	MOVD pace_most(R20), R1
	CMP  R1, R0
	BLE  beats
	MOVD $0, R2

beats:
	MOVD page_beats(R19), R0
	CMP  R23, R0
	BEQ  missed
	MOVD R0, R23
	MOVD $0, R21
	B    term

missed:
	ADD R2, R21, R21

term:
	MOVD page_term(R19), R0
	CBNZ R0, late
	MOVD $0, R22
	B    judge

late:
	ADD R2, R22, R22

judge:
	MOVD page_missed(R19), R0
	CMP  R0, R21
	BHS  abort
	MOVD page_late(R19), R0
	CMP  R0, R22
	BHS  abort
	ORR  R21, R22, R0
	CBZ  R0, calm
	ADD  $page_short, R19, R20
	B    round

abort:
	// A core would have what commands were given.
	MOVD $SYS_prctl, R8
	MOVD $PR_SET_DUMPABLE, R0
	MOVD $0, R1
	SVC
	MOVD $SYS_kill, R8
	MOVD page_pid(R19), R0
	MOVD $SIGABRT, R1
	SVC
	MOVD $SYS_nanosleep, R8
	ADD  $page_last, R19, R0
	MOVD $0, R1
	SVC
	MOVD $SYS_kill, R8
	MOVD page_pid(R19), R0
	MOVD $SIGKILL, R1
	SVC
	B    abort

exit:
	MOVD $SYS_exit, R8
	MOVD $0, R0
	SVC
	B    exit

// func markerPC() uintptr
TEXT ·markerPC(SB), NOSPLIT, $0-8
	MOVD $marker<>(SB), R0
	MOVD R0, ret+0(FP)
	RET

// marker is a signal handler: it keeps its arguments in R0, R1 and R2.
TEXT marker<>(SB), NOSPLIT|NOFRAME, $0-0
	MOVD ·markedPage(SB), R16
	MOVD $1, R17
	MOVD R17, page_term(R16)
	MOVD ·nextHandler(SB), R16
	JMP  (R16)
