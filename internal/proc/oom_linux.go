package proc

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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

// scores are values of oom_score_adj: the agent's, which its children inherit, and that of
// commands.
type scores struct{ agent, command int }

// scoresNow returns ok false if commands may keep what they inherit.
func scoresNow() (s scores, ok bool) {
	if forced := forcedScores; forced != nil {
		return *forced, true
	}
	s = scores{agent: startedWith(), command: max(startedWith(), 0)}
	if protects.Load() {
		s.agent = leastKill
	}
	return s, s.agent < 0
}

// forcedScores are those of a test.
var forcedScores *scores

func (s scores) text() []byte { return strconv.AppendInt(nil, int64(s.command), 10) }

func scorePath(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/oom_score_adj" }

// ordinary undoes what the child has inherited from an agent that is protected
// from the OOM killer. It is best effort: a child that has exited is fine too.
func ordinary(pid int) {
	if s, ok := scoresNow(); ok {
		_ = os.WriteFile(scorePath(pid), s.text(), 0)
	}
}
