package proc

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cocoonstack/cocoon-agent/internal/proc/cgroup"
)

// protected says whether the agent is kept from the OOM killer, which its
// children inherit. If that cannot be read it may be.
var protected = sync.OnceValue(func() bool {
	text, err := os.ReadFile("/proc/self/oom_score_adj")
	return err != nil || strings.TrimSpace(string(text)) != "0"
})

// ordinary undoes what the child has inherited from an agent that is protected
// from the OOM killer. It is best effort: a child that has exited is fine too.
func ordinary(pid int) {
	if !protected() {
		return
	}
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("0"), 0)
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
		_, _ = f.WriteString("0")
	}
}
