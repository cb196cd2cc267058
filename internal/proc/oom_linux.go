package proc

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cocoonstack/cocoon-agent/internal/proc/cgroup"
)

// Values of oom_score_adj, proc_pid_oom_score_adj(5). Children inherit it.
const (
	ownScore  = "/proc/self/oom_score_adj"
	leastKill = -1000 // the OOM killer spares the process
)

// startedWith is the oom_score_adj that the agent was started with. If that cannot be
// read the agent may be protected.
var startedWith = sync.OnceValue(func() int {
	text, err := os.ReadFile(ownScore)
	if err != nil {
		return leastKill
	}
	score, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return leastKill
	}
	return score
})

// protects says whether the agent has protected itself.
var protects atomic.Bool

func protect() error {
	if startedWith() == leastKill {
		return nil // by the unit, or there is no /proc
	}
	if err := os.WriteFile(ownScore, []byte(strconv.Itoa(leastKill)), 0); err != nil {
		return err
	}
	protects.Store(true)
	return nil
}

// protected says whether the agent is kept from the OOM killer, and so are its children
// unless they are made ordinary.
func protected() bool { return protects.Load() || startedWith() < 0 }

// ordinaryScore is the oom_score_adj of a command.
func ordinaryScore() []byte { return strconv.AppendInt(nil, int64(max(startedWith(), 0)), 10) }

// ordinary undoes what the child has inherited from an agent that is protected
// from the OOM killer. It is best effort: a child that has exited is fine too.
func ordinary(pid int) {
	if !protected() {
		return
	}
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), ordinaryScore(), 0)
}

// ordinaryMembers is for a tree whose main process has just been made [ordinary], and
// may have forked before that. The OOM killer spares a process that inherits the
// agent's protection, and without its memory that waits for ever.
func ordinaryMembers(g *cgroup.Group) {
	if !protected() {
		return
	}
	done := map[int]bool{}
	for grown := true; grown; {
		grown = false
		for _, pid := range g.Members() {
			if !done[pid] {
				ordinaryMember(g, pid)
				done[pid], grown = true, true
			}
		}
	}
}

// ordinaryMember makes pid [ordinary] if it is the cgroup's. The file that is open
// is of one process, whoever has its pid later: if that is a member after it was
// opened, it is the file's.
func ordinaryMember(g *cgroup.Group, pid int) {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if slices.Contains(g.Members(), pid) {
		_, _ = f.Write(ordinaryScore())
	}
}
