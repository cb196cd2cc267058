#include "textflag.h"

// The child shares the memory of this program until its execve. It runs no Go code: it
// carries out the steps of its table. It uses no stack and no g.
//
// R13: the table, whose first word says which step is under way. R12: that step.

// func clone3(args unsafe.Pointer, size uintptr, table unsafe.Pointer) (pid int)
TEXT ·clone3(SB), NOSPLIT|NOFRAME, $0-32
	MOVQ args+0(FP), DI
	MOVQ size+8(FP), SI
	MOVQ table+16(FP), R13
	MOVQ $435, AX // clone3
	SYSCALL
	TESTQ AX, AX
	JZ   child
	MOVQ AX, pid+24(FP)
	RET

child:
	JMP carryOut<>(SB)

// func interpret(table unsafe.Pointer)
TEXT ·interpret(SB), NOSPLIT|NOFRAME, $0-8
	MOVQ table+0(FP), R13
	JMP carryOut<>(SB)

TEXT carryOut<>(SB), NOSPLIT|NOFRAME, $0-0
	LEAQ 64(R13), R12 // headerSize

step:
	MOVQ R12, 0(R13) // header.at
	MOVQ 0(R12), AX
	MOVQ 8(R12), DI
	MOVQ 16(R12), SI
	MOVQ 24(R12), DX
	MOVQ 32(R12), R10
	MOVQ 40(R12), R8
	MOVQ 48(R12), R9
	SYSCALL
	MOVQ AX, 64(R12) // step.result
	CMPQ AX, $0xfffffffffffff001
	JCS  next // no error
	NEGQ AX
	CMPQ AX, $63
	JLS  mask
	MOVQ $63, AX

mask:
	BTQ  AX, 56(R12) // step.tolerated
	JCC  exit

next:
	ADDQ $72, R12 // stepSize
	JMP  step

exit:
	MOVQ $253, DI // exitFailed
	MOVQ $231, AX // exit_group
	SYSCALL
	JMP  exit
