package job

import "sync/atomic"

// Counts are what has become of a table's jobs since it was made.
type Counts struct {
	Started uint64
	Failed  uint64 // did not start
	Running uint64
	Kept    uint64 // records of kept jobs that have ended
	Rings   uint64 // bytes of memory that outputs of detached jobs take

	Stdin          uint64 // bytes that processes were given, of inputs that have ended
	Stdout, Stderr uint64 // bytes that hosts have taken, of jobs that have ended
}

type counters struct{ started, failed, stdin, stdout, stderr atomic.Uint64 }

func (c *counters) add(x *Exit) {
	c.stdout.Add(x.Stdout)
	c.stderr.Add(x.Stderr)
}

// Counts returns them as they are now.
func (t *Table) Counts() Counts {
	t.mu.Lock()
	running, kept := len(t.announced), len(t.records.order)
	t.mu.Unlock()
	c := &t.counters
	return Counts{
		Started: c.started.Load(), Failed: c.failed.Load(), Running: uint64(running), Kept: uint64(kept), Rings: uint64(t.memory.taken()),
		Stdin: c.stdin.Load(), Stdout: c.stdout.Load(), Stderr: c.stderr.Load(),
	}
}
