//go:build !linux

package local

import (
	"context"
	"net"
	"syscall"
)

func classOf(error) error { return nil }

func isReset(error) bool { return false }

func hungUp(syscall.RawConn) bool { return false }

func connectAs(context.Context, endpoint, User) (net.Conn, error) { return nil, ErrUnsupported }
