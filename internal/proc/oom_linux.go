package proc

import (
	"os"
	"runtime"
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

// scoreHandedOver is the oom_score_adj of the program that this one was executed in the place of,
// before that protected itself. nil: there was none.
var scoreHandedOver atomic.Pointer[int]

// startedWith returns the oom_score_adj that the agent was started with. If that cannot be
// read the agent may be protected.
func startedWith() int {
	if score := scoreHandedOver.Load(); score != nil {
		return *score
	}
	return scoreAtStart()
}

var scoreAtStart = sync.OnceValue(func() int {
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

// maxOrdinary bounds how often ordinary writes.
const maxOrdinary = 1000

// ordinary undoes what the child has inherited from an agent that is protected
// from the OOM killer. It is best effort: a child that has exited is fine too.
//
// In execve the kernel says that the child has given up the agent's memory a moment
// before it has. Until then a score that is written to the child is also written to the
// agent, which shares the memory. So the agent looks at its score, and writes both again.
func ordinary(pid int) {
	s, ok := scoresNow()
	if !ok {
		return
	}
	for range maxOrdinary {
		if err := os.WriteFile(scorePath(pid), s.text(), 0); err != nil || ownScoreIs(s.agent) {
			return
		}
		if err := os.WriteFile(ownScore, strconv.AppendInt(nil, int64(s.agent), 10), 0); err != nil {
			return
		}
		runtime.Gosched()
	}
}

// ownScoreIs reports whether the agent's score is n, or cannot be told.
func ownScoreIs(n int) bool {
	if forcedScores != nil {
		return true
	}
	text, err := os.ReadFile(ownScore)
	if err != nil {
		return true
	}
	got, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return err != nil || got == n
}
