//go:build !linux

package hangtest

import (
	"sync/atomic"
	"testing"
)

type program struct{ path string }

func newProgram(tb testing.TB) *Program { tb.Helper(); tb.Skip("Linux only"); return nil }

func (*program) await(testing.TB) int { return 0 }

type mount struct {
	path    string
	hanging atomic.Int32
}

func newMount(tb testing.TB) *Mount { tb.Helper(); tb.Skip("Linux only"); return nil }

func (*mount) hang() {}
func (*mount) stop() {}
func (*mount) end()  {}
