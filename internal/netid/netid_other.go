//go:build !linux

package netid

import (
	"errors"
	"net"
	"time"
)

func apply(*Network, string, time.Time) []Outcome {
	all := make([]Outcome, len(steps))
	for n, step := range steps {
		all[n] = Outcome{Step: step, Err: errors.ErrUnsupported}
	}
	return all
}

func linkByMAC(net.HardwareAddr) (*Link, error) { return nil, errors.ErrUnsupported }
