//go:build !linux && !windows

package proc

import (
	"context"
	"fmt"
	"time"
)

// errSystem is the error of all that depends on the operating system.
var errSystem = fmt.Errorf("%w: the agent runs on Linux and Windows only", ErrUnsupported)

type spawner struct{}

func (*spawner) open()                      {}
func (*spawner) close() error               { return nil }
func (*spawner) useCgroups(func(int)) error { return errSystem }
func (*spawner) canLimit() error            { return errSystem }

func (*spawner) start(context.Context, Spec, launch) (*Process, error) { return nil, errSystem }
func (*spawner) startWay() (string, error)                             { return "", errSystem }
func (*spawner) startsStuck() int                                      { return 0 }
func (*spawner) cgroupsKept() int                                      { return 0 }
func (*spawner) groups() []string                                      { return nil }
func (*spawner) account(string) (account, error)                       { return account{}, errSystem }

func (*spawner) identity(string) (account, error) { return account{}, errSystem }

func actAsHelper() (status int, acted bool) { return 0, false }

func protect() error { return errSystem }

func ownAccount() account { return account{} }

func candidates(string, []string, string) ([]string, error) { return nil, errSystem }

type process struct{}

func (*process) wait() error             { return errSystem }
func (*process) reap() (Exit, error)     { return Exit{}, errSystem }
func (*process) signal(Signal) error     { return errSystem }
func (*process) terminate(time.Duration) {}

func signalWaits(Signal) bool { return false }

func parseSignal(string) (Signal, error) { return "", errSystem }

type terminal struct{}

func (*terminal) endInput(bool)     {}
func (*terminal) resize(Size) error { return errSystem }

func (*terminal) size() (Size, error) { return Size{}, errSystem }

func (*Output) waiting() int { return 0 }
