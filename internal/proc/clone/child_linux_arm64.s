#include "textflag.h"

// The child shares the memory of this program until its execve. It runs no Go code: it
// carries out the steps of its table. It uses no stack and no g.
//
// R20: the table, whose first word says which step is under way. R19: that step.

// func clone3(args unsafe.Pointer, size uintptr, table unsafe.Pointer) (pid int)
TEXT ·clone3(SB), NOSPLIT|NOFRAME, $0-32
	MOVD args+0(FP), R0
	MOVD size+8(FP), R1
	MOVD table+16(FP), R20
	MOVD $435, R8 // clone3
	SVC
	CBZ  R0, child
	MOVD R0, pid+24(FP)
	RET

child:
	JMP carryOut<>(SB)

// func interpret(table unsafe.Pointer)
TEXT ·interpret(SB), NOSPLIT|NOFRAME, $0-8
	MOVD table+0(FP), R20
	JMP carryOut<>(SB)

TEXT carryOut<>(SB), NOSPLIT|NOFRAME, $0-0
	ADD $64, R20, R19 // headerSize

step:
	MOVD R19, (R20) // header.at
	MOVD (R19), R8
	LDP  8(R19), (R0, R1)
	LDP  24(R19), (R2, R3)
	LDP  40(R19), (R4, R5)
	SVC
	MOVD R0, 64(R19) // step.result
	CMN  $4095, R0
	BCC  next // no error
	NEG  R0, R0
	CMP  $63, R0
	BLS  mask
	MOVD $63, R0

mask:
	MOVD 56(R19), R1 // step.tolerated
	LSR  R0, R1, R1
	TBZ  $0, R1, exit

next:
	ADD $72, R19 // stepSize
	B   step

exit:
	MOVD $253, R0 // exitFailed
	MOVD $94, R8  // exit_group
	SVC
	B    exit
