#include "textflag.h"

// func prlimit(old *Limit) (errno int)
TEXT ·prlimit(SB), NOSPLIT, $0-16
	MOVD $0, R0
	MOVD $7, R1 // RLIMIT_NOFILE
	MOVD $0, R2
	MOVD old+0(FP), R3
	MOVD $261, R8 // prlimit64
	SVC
	MOVD R0, errno+8(FP)
	RET
