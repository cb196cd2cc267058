//go:build !linux || !(amd64 || arm64 || riscv64)

package deadman

import "runtime/debug"

type deadman struct{}

func (*deadman) start(times) error { return nil }
func (*deadman) taken()            {}
func (*deadman) stop()             {}

func (*deadman) abort() {
	debug.SetTraceback("all")
	go panic("aborted") // which nobody can recover
}
