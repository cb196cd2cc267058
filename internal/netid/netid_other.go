//go:build !linux

package netid

import (
	"errors"
	"time"
)

func apply(*Network, string, time.Time) []Outcome {
	all := make([]Outcome, len(steps))
	for n, step := range steps {
		all[n] = Outcome{Step: step, Err: errors.ErrUnsupported}
	}
	return all
}
