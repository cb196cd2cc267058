//go:build linux

package client_test

import (
	"errors"
	"math"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
)

func TestLimitIsKeptOrTheCommandRefused(t *testing.T) {
	c, _ := dial(t)
	for _, l := range []client.Limits{{Memory: 1 << 30}, {PIDs: 50}, {CPU: 0.5}} {
		cmd := c.Command("true")
		cmd.Limits = l
		err := cmd.Run()
		if err == nil {
			continue // a machine where they can be set
		}
		wantKind(t, err, client.Unsupported)
	}
}

func TestLimitThatMakesNoSenseIsNotTakenForNone(t *testing.T) {
	c, _ := dial(t)
	for _, l := range []client.Limits{{Memory: 1}, {Memory: math.MaxUint64}, {PIDs: math.MaxUint64}, {CPU: 1e-9}, {CPU: 0.004}} {
		cmd := c.Command("true")
		cmd.Limits = l
		wantKind(t, cmd.Run(), client.BadRequest)
	}
	for _, n := range []float64{-1, -0.0001, math.NaN(), math.Inf(1), math.Inf(-1), 1e10} {
		cmd := c.Command("true")
		cmd.Limits.CPU = n
		err := cmd.Run()
		if _, remote := errors.AsType[*client.RemoteError](err); err == nil || remote {
			t.Errorf("%v CPUs: %v", n, err)
		}
	}
}
