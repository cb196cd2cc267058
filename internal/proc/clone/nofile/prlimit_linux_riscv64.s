#include "textflag.h"

// func prlimit(old *Limit) (errno int)
TEXT ·prlimit(SB), NOSPLIT, $0-16
	MOV $0, A0
	MOV $7, A1 // RLIMIT_NOFILE
	MOV $0, A2
	MOV old+0(FP), A3
	MOV $261, A7 // prlimit64
	ECALL
	MOV A0, errno+8(FP)
	RET
