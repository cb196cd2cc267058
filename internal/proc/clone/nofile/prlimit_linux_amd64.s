#include "textflag.h"

// func prlimit(old *Limit) (errno int)
TEXT ·prlimit(SB), NOSPLIT, $0-16
	MOVQ $0, DI
	MOVQ $7, SI // RLIMIT_NOFILE
	MOVQ $0, DX
	MOVQ old+0(FP), R10
	MOVQ $302, AX // prlimit64
	SYSCALL
	MOVQ AX, errno+8(FP)
	RET
