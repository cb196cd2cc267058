//go:build !linux

package transport

import "net"

func inherit(int, Policy) (net.Listener, Address, error) { return nil, Address{}, errLinuxOnly }
