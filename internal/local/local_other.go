//go:build !linux && !windows

package local

import (
	"context"
	"net"
)

func classOf(error) error { return nil }

func isReset(error) bool { return false }

func connectAs(context.Context, endpoint, User) (net.Conn, error) { return nil, ErrUnsupported }
