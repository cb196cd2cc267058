package client

import (
	"context"
	"fmt"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Info is what an agent says of itself and its guest. What it could not find
// out is empty or 0.
type Info struct {
	Version  string // of the agent
	Protocol int    // version that is spoken on this connection

	Hostname string
	OS       string // for people, such as "Debian GNU/Linux 12 (bookworm)"
	Kernel   string // release
	Arch     string // as GOARCH has it
	BootID   string // another one after each boot; a clone has its original's

	// Resumes is how many times a Resume or Reseed has succeeded since the agent
	// started. A clone begins with its original's.
	Resumes uint64

	Uptime          time.Duration // since boot
	CPUs            int           // online
	MemoryTotal     uint64        // bytes
	MemoryAvailable uint64        // bytes, for new processes without swapping
	Load            [3]float64    // averages over 1, 5 and 15 minutes

	// Clock is the guest's, and ClockOffset how far it is ahead of this host's,
	// give or take half of RoundTrip.
	Clock       time.Time
	ClockOffset time.Duration
	RoundTrip   time.Duration
}

// Info asks the agent what it and its guest are. One that speaks protocol version
// 1 only tells nothing but the round trip.
func (c *Client) Info(ctx context.Context) (*Info, error) {
	asked := time.Now()
	done, err := c.request(ctx, func(h wire.Head) wire.Message { return &wire.Info{Head: h} })
	if err != nil {
		return nil, err
	}
	trip := time.Since(asked)
	g := done.Guest
	if g == nil {
		return nil, fmt.Errorf("%w: done without a guest", ErrProtocol)
	}
	var clock time.Time
	var offset time.Duration
	if g.ClockNS != 0 {
		clock = time.Unix(0, int64(g.ClockNS))
		offset = clock.Sub(asked.Add(trip / 2).Round(0))
	}
	return &Info{
		Version: g.Version, Protocol: int(c.Protocol()),
		Hostname: g.Hostname, OS: g.OS, Kernel: g.Kernel, Arch: g.Arch, BootID: g.BootID, Resumes: g.Resumes,
		Uptime:      time.Duration(g.UptimeMS) * time.Millisecond,
		CPUs:        int(g.CPUs),
		MemoryTotal: g.MemoryTotal, MemoryAvailable: g.MemoryAvailable,
		Load:        [3]float64{float64(g.Load1) / 100, float64(g.Load5) / 100, float64(g.Load15) / 100},
		Clock:       clock,
		ClockOffset: offset,
		RoundTrip:   trip,
	}, nil
}
