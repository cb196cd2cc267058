//go:build linux

package row

import "github.com/cocoonstack/cocoon-agent/bench/internal/measure"

// A Size is how much is measured.
type Size struct {
	Name string

	Exec     measure.Plan
	SSHEvery int // of the steps of Exec

	Costs int // execs of a sample of CPU time

	Rate       measure.Plan
	RateBatch  int   // execs of a sample
	RateCurve  []int // how many at once, in the chart
	CurveSteps int   // rounds of the curves

	Throughput measure.Plan
	Bytes      int64 // of a sample, of those that are fast; the others carry an eighth
	Chunks     []int // of the chart
	Tree       int   // files in a tree; 0: none is copied

	Ping      measure.Plan
	Idle      []int // how many execs sleep
	IdleRuns  int
	Starts    int // of the agent
	Soak      int // execs
	WriteRuns int // execs that are traced
}

// The sizes.
var (
	Full = Size{
		Name: "full",
		Exec: measure.Plan{Warm: 100, Rounds: 7, Samples: 800}, SSHEvery: 20, Costs: 256,
		Rate: measure.Plan{Warm: 1, Rounds: 7, Samples: 3}, RateBatch: 1024,
		RateCurve: []int{1, 4, 16, 64, 256}, CurveSteps: 3,
		Throughput: measure.Plan{Warm: 1, Rounds: 7, Samples: 1}, Bytes: 512 << 20,
		Chunks: []int{1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10}, Tree: 20000,
		Ping: measure.Plan{Warm: 20, Rounds: 5, Samples: 600},
		Idle: []int{0, 250, 500, 1000, 1500, 2000}, IdleRuns: 3,
		Starts: 50, Soak: 10000, WriteRuns: 200,
	}

	Quick = Size{
		Name: "quick",
		Exec: measure.Plan{Warm: 30, Rounds: 5, Samples: 200}, SSHEvery: 20, Costs: 128,
		Rate: measure.Plan{Warm: 1, Rounds: 5, Samples: 1}, RateBatch: 512,
		RateCurve: []int{1, 16, 64}, CurveSteps: 1,
		Throughput: measure.Plan{Warm: 1, Rounds: 3, Samples: 1}, Bytes: 256 << 20,
		Chunks: []int{4 << 10, 64 << 10, 256 << 10}, Tree: 5000,
		Ping: measure.Plan{Warm: 10, Rounds: 3, Samples: 200},
		Idle: []int{0, 1000, 2000}, IdleRuns: 1,
		Starts: 15, Soak: 2000, WriteRuns: 50,
	}

	// Gate is enough for CPU times and counts.
	Gate = Size{
		Name: "gate",
		Exec: measure.Plan{Warm: 10, Rounds: 3, Samples: 150},
		Rate: measure.Plan{Warm: 1, Rounds: 3, Samples: 1}, RateBatch: 256,
		Throughput: measure.Plan{Warm: 1, Rounds: 3, Samples: 1}, Bytes: 64 << 20,
		Ping: measure.Plan{Rounds: 2, Samples: 20},
		Idle: []int{0, 100}, IdleRuns: 1,
	}

	// Smoke shows that everything runs, and no more than that.
	Smoke = Size{
		Name: "smoke",
		Exec: measure.Plan{Warm: 1, Rounds: 2, Samples: 5}, SSHEvery: 5, Costs: 8,
		Rate: measure.Plan{Rounds: 2, Samples: 1}, RateBatch: 64,
		RateCurve: []int{1, 8}, CurveSteps: 1,
		Throughput: measure.Plan{Rounds: 2, Samples: 1}, Bytes: 8 << 20,
		Chunks: []int{4 << 10, 64 << 10}, Tree: 200,
		Ping: measure.Plan{Rounds: 2, Samples: 20},
		Idle: []int{0, 50, 100}, IdleRuns: 1,
		Starts: 3, Soak: 100, WriteRuns: 5,
	}
)
