#include "textflag.h"

// The child shares the memory of this program until its execve. It runs no Go code: it
// carries out the steps of its table. It uses no stack and no g.
//
// S3: the table, whose first word says which step is under way. S2: that step.

// func clone3(args unsafe.Pointer, size uintptr, table unsafe.Pointer) (pid int)
TEXT ·clone3(SB), NOSPLIT|NOFRAME, $0-32
	MOV args+0(FP), A0
	MOV size+8(FP), A1
	MOV table+16(FP), S3
	MOV $435, A7 // clone3
	ECALL
	BEQZ A0, child
	MOV A0, pid+24(FP)
	RET

child:
	JMP carryOut<>(SB)

// func interpret(table unsafe.Pointer)
TEXT ·interpret(SB), NOSPLIT|NOFRAME, $0-8
	MOV table+0(FP), S3
	JMP carryOut<>(SB)

TEXT carryOut<>(SB), NOSPLIT|NOFRAME, $0-0
	ADD $64, S3, S2 // headerSize

step:
	MOV S2, (S3) // header.at
	MOV (S2), A7
	MOV 8(S2), A0
	MOV 16(S2), A1
	MOV 24(S2), A2
	MOV 32(S2), A3
	MOV 40(S2), A4
	MOV 48(S2), A5
	ECALL
	MOV A0, 64(S2) // step.result
	MOV $-4096, T0
	BGEU T0, A0, next // no error
	SUB A0, ZERO, A0
	MOV $63, T0
	BGEU T0, A0, mask
	MOV T0, A0

mask:
	MOV 56(S2), T1 // step.tolerated
	SRL A0, T1, T1
	AND $1, T1
	BEQZ T1, exit

next:
	ADD $72, S2 // stepSize
	JMP step

exit:
	MOV $253, A0 // exitFailed
	MOV $94, A7  // exit_group
	ECALL
	JMP exit
