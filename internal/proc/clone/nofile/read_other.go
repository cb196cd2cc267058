//go:build !linux || !(amd64 || arm64 || riscv64)

package nofile

var (
	initial Limit
	known   bool
)
