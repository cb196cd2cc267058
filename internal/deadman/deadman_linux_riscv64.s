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
	MOV flags+0(FP), A0
	MOV stack+8(FP), A1
	MOV tid+16(FP), A2 // parent_tid
	MOV $0, A3
	MOV tid+16(FP), A4 // child_tid
	MOV page+24(FP), S2
	MOV $SYS_clone, A7
	ECALL
	BEQZ A0, thread
	MOV A0, r+32(FP)
	RET

thread:
	JMP watch<>(SB)

// watch is the thread: it has no g and uses no stack.
// S2: page. S3: pace. S4: rounds without a beat. S5: rounds with a SIGTERM.
// S6: beats seen. S7: when the round began. S8: 1000000000. A system call changes A0.
TEXT watch<>(SB), NOSPLIT|NOFRAME, $0-0
	MOV $0, S4
	MOV $0, S5
	MOV $1000000000, S8
	MOV page_beats(S2), S6

calm:
	ADD $page_calm, S2, S3

round:
	MOV $SYS_clock_gettime, A7
	MOV $CLOCK_MONOTONIC, A0
	ADD $page_now, S2, A1
	ECALL
	MOV page_now(S2), S7
	MUL S8, S7, S7
	MOV (page_now+8)(S2), A0
	ADD A0, S7, S7

	MOV $SYS_futex, A7
	ADD $page_order, S2, A0
	MOV $FUTEX_WAIT, A1
	MOV $0, A2
	MOV S3, A3
	ECALL
	MOVWU page_order(S2), A0
	MOV $const_orderExit, A1
	BEQ A0, A1, exit
	MOV $const_orderAbort, A1
	BEQ A0, A1, abort

	MOV $SYS_clock_gettime, A7
	MOV $CLOCK_MONOTONIC, A0
	ADD $page_now, S2, A1
	ECALL
	MOV page_now(S2), A0
	MUL S8, A0, A0
	MOV (page_now+8)(S2), A1
	ADD A1, A0, A0
	SUB S7, A0, A0
	MOV $1, A2           // what the round counts
	MOV pace_most(S3), A1
	BGE A1, A0, beats
	MOV $0, A2

beats:
	MOV page_beats(S2), A0
	BEQ A0, S6, missed
	MOV A0, S6
	MOV $0, S4
	JMP term

missed:
	ADD A2, S4, S4

term:
	MOV page_term(S2), A0
	BNEZ A0, late
	MOV $0, S5
	JMP judge

late:
	ADD A2, S5, S5

judge:
	MOV page_missed(S2), A0
	BGEU S4, A0, abort
	MOV page_late(S2), A0
	BGEU S5, A0, abort
	OR S4, S5, A0
	BEQZ A0, calm
	ADD $page_short, S2, S3
	JMP round

abort:
	// A core would have what commands were given.
	MOV $SYS_prctl, A7
	MOV $PR_SET_DUMPABLE, A0
	MOV $0, A1
	ECALL
	MOV $SYS_kill, A7
	MOV page_pid(S2), A0
	MOV $SIGABRT, A1
	ECALL
	MOV $SYS_nanosleep, A7
	ADD $page_last, S2, A0
	MOV $0, A1
	ECALL
	MOV $SYS_kill, A7
	MOV page_pid(S2), A0
	MOV $SIGKILL, A1
	ECALL
	JMP abort

exit:
	MOV $SYS_exit, A7
	MOV $0, A0
	ECALL
	JMP exit

// func markerPC() uintptr
TEXT ·markerPC(SB), NOSPLIT, $0-8
	MOV $marker<>(SB), A0
	MOV A0, ret+0(FP)
	RET

// marker is a signal handler: it keeps its arguments in A0, A1 and A2.
TEXT marker<>(SB), NOSPLIT|NOFRAME, $0-0
	MOV ·markedPage(SB), T0
	MOV $1, T1
	MOV T1, page_term(T0)
	MOV ·nextHandler(SB), T0
	JMP (T0)
