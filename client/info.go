package client

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Info describes an agent and its guest. A field that the agent could not find out is
// empty or 0. The guest fills it in, so it may be false; texts are printable, and
// short.
type Info struct {
	Version  string // of the agent
	Protocol int    // version that is spoken on this connection

	Hostname string
	OS       string // for people, such as "Debian GNU/Linux 12 (bookworm)"
	Kernel   string // release
	Arch     string // as GOARCH has it
	BootID   string // another one after each boot; a clone has its original's

	// Resumes is how many times a ReseedWith or Reseed has succeeded since the agent
	// started. A clone begins with its original's.
	Resumes uint64

	Uptime          time.Duration // since boot
	CPUs            int           // online
	CPUTime         time.Duration // of all CPUs since boot, without what they idled or other VMs took; 0: not told
	MemoryTotal     uint64        // bytes
	MemoryAvailable uint64        // bytes, for new processes without swapping
	Load            [3]float64    // averages over 1, 5 and 15 minutes

	// Start says how the agent starts commands, for people: "clone3" unless the guest's
	// kernel is too old for that. StartsStuck is how many starts hang and cannot be ended.
	Start       string
	StartsStuck uint64

	// Clock is the guest's, and ClockOffset how far it is ahead of this host's,
	// give or take half of RoundTrip.
	Clock       time.Time
	ClockOffset time.Duration
	RoundTrip   time.Duration

	Agent AgentInfo // zero: not told
}

// AgentInfo has figures about an agent, counted from its start.
type AgentInfo struct {
	Uptime      time.Duration
	RSS         uint64 // bytes
	Connections uint64 // open, that of the question included
	Refused     uint64 // peers that may not connect

	ExecsStarted uint64
	ExecsFailed  uint64 // did not start
	ExecsRunning uint64

	ForwardsStarted uint64
	ForwardsFailed  uint64 // made no connection
	ForwardsRunning uint64

	StdinBytes uint64 // that commands were given, of inputs that have ended

	// Bytes that hosts have taken, of commands that have ended.
	StdoutBytes uint64
	StderrBytes uint64

	CgroupsKept uint64 // of commands that have ended: something that they left is in them

	RecordsKept uint64 // records of detached commands that have ended
	RingMemory  uint64 // bytes that the kept output of detached commands takes
}

// Info asks the agent about itself and its guest. From an agent that speaks protocol
// version 1 only, the caller learns nothing but the round trip. If the answer has
// figures that no machine has, the error wraps [ErrProtocol].
func (c *Client) Info(ctx context.Context) (*Info, error) {
	asked := time.Now()
	done, err := c.request(ctx, func(h wire.Head) wire.Message { return &wire.Info{Head: h} })
	if err != nil {
		return nil, err
	}
	trip := time.Since(asked)
	g := done.Guest
	if g == nil {
		return nil, fmt.Errorf("%w: answer without guest information", ErrProtocol)
	}
	if err := checkGuest(g); err != nil {
		return nil, err
	}
	if err := checkAgent(done.Agent); err != nil {
		return nil, err
	}
	var clock time.Time
	var offset time.Duration
	if g.ClockNS != 0 {
		clock = time.Unix(0, int64(g.ClockNS))
		offset = clock.Sub(asked.Add(trip / 2).Round(0))
	}
	return &Info{
		Version: printable(g.Version, maxInfoText), Protocol: int(c.Protocol()),
		Hostname: printable(g.Hostname, maxInfoText), OS: printable(g.OS, maxInfoText),
		Kernel: printable(g.Kernel, maxInfoText), Arch: printable(g.Arch, maxInfoText),
		BootID: printable(g.BootID, maxInfoText), Resumes: g.Resumes,
		Uptime:      time.Duration(g.UptimeMS) * time.Millisecond,
		CPUs:        int(g.CPUs),
		CPUTime:     time.Duration(g.CPUNS),
		MemoryTotal: g.MemoryTotal, MemoryAvailable: g.MemoryAvailable,
		Load:        [3]float64{float64(g.Load1) / 100, float64(g.Load5) / 100, float64(g.Load15) / 100},
		Start:       printable(g.Start, maxInfoText),
		StartsStuck: g.StartsStuck,
		Clock:       clock,
		ClockOffset: offset,
		RoundTrip:   trip,
		Agent:       agentInfo(done.Agent),
	}, nil
}

func agentInfo(a *wire.Agent) AgentInfo {
	if a == nil {
		return AgentInfo{}
	}
	return AgentInfo{
		Uptime: time.Duration(a.UptimeMS) * time.Millisecond, RSS: a.RSS,
		Connections: a.Connections, Refused: a.Refused,
		ExecsStarted: a.ExecsStarted, ExecsFailed: a.ExecsFailed, ExecsRunning: a.ExecsRunning,
		ForwardsStarted: a.ForwardsStarted, ForwardsFailed: a.ForwardsFailed, ForwardsRunning: a.ForwardsRunning,
		StdinBytes: a.StdinBytes, StdoutBytes: a.StdoutBytes, StderrBytes: a.StderrBytes,
		CgroupsKept: a.CgroupsKept,
		RecordsKept: a.RecordsKept, RingMemory: a.RingMemory,
	}
}

// Bounds of what a guest may say of itself.
const (
	maxInfoText = 256     // bytes of each text
	maxCPUs     = 1 << 16 // Linux takes up to 8,192
	maxLoad     = 1e6     // runnable processes: Linux has 4,194,304 pids
	maxResumes  = 1 << 32
	maxStuck    = 1 << 16 // an agent has 64 at most
)

// A figure is a number of an answer to info, and the most that makes sense.
type figure struct {
	name       string
	said, most uint64
}

// checkFigures returns an error that wraps ErrProtocol if one of them makes no sense.
func checkFigures(all []figure) error {
	for _, x := range all {
		if x.said > x.most {
			return fmt.Errorf("%w: %s of %d in the answer to info: want at most %d", ErrProtocol, x.name, x.said, x.most)
		}
	}
	return nil
}

func checkAgent(a *wire.Agent) error {
	if a == nil {
		return nil
	}
	return checkFigures([]figure{
		{"agent.uptime_ms", a.UptimeMS, uint64(math.MaxInt64 / time.Millisecond)},
		{"agent.rss", a.RSS, math.MaxInt64},
	})
}

func checkGuest(g *wire.Guest) error {
	return checkFigures([]figure{
		{"cpus", g.CPUs, maxCPUs},
		{"uptime_ms", g.UptimeMS, uint64(math.MaxInt64 / time.Millisecond)},
		{"clock_ns", g.ClockNS, math.MaxInt64},
		{"memory_total", g.MemoryTotal, math.MaxInt64},
		{"memory_available", g.MemoryAvailable, math.MaxInt64},
		{"load1", g.Load1, 100 * maxLoad},
		{"load5", g.Load5, 100 * maxLoad},
		{"load15", g.Load15, 100 * maxLoad},
		{"resumes", g.Resumes, maxResumes},
		{"starts_stuck", g.StartsStuck, maxStuck},
		{"cpu_ns", g.CPUNS, math.MaxInt64},
	})
}
