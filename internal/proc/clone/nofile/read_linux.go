//go:build amd64 || arm64 || riscv64

package nofile

var (
	initial Limit
	known   = prlimit(&initial) == 0
)

// prlimit is prlimit64(0, RLIMIT_NOFILE, NULL, old).
//
//go:noescape
func prlimit(old *Limit) (errno int)
