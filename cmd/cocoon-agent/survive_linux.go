package main

import (
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/sysmon"
)

// spareThreads is how many threads the agent has made before it serves, besides one for
// each CPU: 0.3 MB. The Go runtime keeps threads, and ends the process if it needs one
// that it cannot have. It needs one for each system call that takes its time. There are
// few of those at once: one fork at a time, and short reads and writes.
const spareThreads = 16

// survive prepares the agent for a guest that is out of processes, and for a log
// that nobody reads any more.
func survive() {
	makeThreads(spareThreads + runtime.GOMAXPROCS(0))
	// A write to standard error then fails and does not end the agent. It is
	// caught, not ignored: commands must not inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
}

// protect prepares it for one that is out of memory.
func protect(log zerolog.Logger) {
	if err := proc.Protect(); err != nil {
		log.Warn().Err(err).Msg("the OOM killer may kill the agent: cannot set oom_score_adj to -1000")
	}
}

// relax has it spend less CPU time on watching itself.
func relax(log zerolog.Logger) {
	if err := sysmon.Relax(); err != nil {
		log.Debug().Err(err).Msg("the runtime's monitor wakes as often as usual")
	}
}

// makeThreads has n threads made, which the runtime keeps for when it needs them.
func makeThreads(n int) {
	var all, done sync.WaitGroup
	all.Add(n)
	for range n {
		done.Go(func() { // ends when all have a thread of their own
			runtime.LockOSThread()
			defer runtime.UnlockOSThread() // a thread that is still locked is ended with its goroutine
			all.Done()
			all.Wait()
		})
	}
	done.Wait()
}
