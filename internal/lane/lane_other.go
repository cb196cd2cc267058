//go:build !linux && !windows

package lane

import "errors"

func readFD(uintptr, []byte) (n int, ready bool, err error) { return 0, true, errors.ErrUnsupported }

func hungUp(uintptr) bool { return false }

func enlarge(uintptr) {}
