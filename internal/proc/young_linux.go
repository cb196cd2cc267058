package proc

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc/cgroup"
)

// A youngTree is a tree whose main process has just been made [ordinary], and may have
// forked before that. The OOM killer spares a process that inherits the agent's protection,
// and without its memory that waits for ever.
//
// A process that was in the midst of a fork has a child soon after that is not ordinary. So
// the tree is walked again later, and then less and less often: on a busy machine a fork
// takes long.
type youngTree struct {
	group *cgroup.Group
	main  int
	born  uint64 // when the first walk was over, in ticks since boot; 0: it is not
	level int    // of youngTrees
}

// ordinaryTree makes the processes of a tree ordinary.
func ordinaryTree(g *cgroup.Group, main int) {
	s, ok := scoresNow()
	if !ok {
		return
	}
	t := youngTree{group: g, main: main}
	t.walk(s)
	t.born = ticksSinceBoot()
	young.add(t)
}

// maxWalks bounds how long a start takes: processes may fork without end.
const maxWalks = 100

// walk makes all processes ordinary but the main one, which is, until it finds none that is
// not. It says whether there are any processes, and whether any was not ordinary.
func (t *youngTree) walk(s scores) (lives, found bool) {
	grown := true
	for n := 0; grown && n < maxWalks; n++ {
		grown = false
		for _, pid := range t.group.Members() {
			lives = true
			if pid != t.main && t.makeOrdinary(pid, s) {
				grown, found = true, true
			}
		}
	}
	return lives, found
}

// makeOrdinary makes pid ordinary if it is the tree's and has what it has inherited. The
// file that is open is of one process, whoever has its pid later: if that is a member after
// it was opened, it is the file's. It says whether pid was not ordinary.
func (t *youngTree) makeOrdinary(pid int, s scores) bool {
	f, err := os.OpenFile(scorePath(pid), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	var text [16]byte
	n, _ := f.Read(text[:])
	if string(bytes.TrimSpace(text[:n])) != strconv.Itoa(s.agent) || !t.inherits(pid) || !slices.Contains(t.group.Members(), pid) {
		return false
	}
	_, err = f.Write(s.text())
	return err == nil
}

// slack is how much later than the first walk a process may have started that has inherited
// the agent's score, in ticks.
const slack = 2

// inherits says whether a process that has the agent's score has inherited it. With the
// privilege of root one may have given it to itself, as sshd(8) does.
func (t *youngTree) inherits(pid int) bool {
	if t.born == 0 {
		return true
	}
	if p, err := readStat(pid); err != nil || p.started <= t.born+slack {
		return err == nil
	}
	var dir unix.Stat_t
	return unix.Stat("/proc/"+strconv.Itoa(pid), &dir) == nil && dir.Uid != 0
}

// ticksSinceBoot is the time as proc_pid_stat(5) has it.
func ticksSinceBoot() uint64 {
	const tick = 10 * time.Millisecond
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
	return uint64(now.Nano() / int64(tick))
}

// settleTimes are after how long a tree is walked again, on each level, at least. It takes
// twice as long at most.
var settleTimes = [...]time.Duration{20 * time.Millisecond, 200 * time.Millisecond, 2 * time.Second}

// youngTrees are to be walked again. It is safe for concurrent use.
type youngTrees struct {
	mu     sync.Mutex
	levels [len(settleTimes)]level
}

// A level has trees that are walked at the end of this turn, and of the next.
type level struct {
	now, next []youngTree
	turns     bool // a timer runs
}

var young youngTrees

func (y *youngTrees) add(t youngTree) {
	y.mu.Lock()
	defer y.mu.Unlock()
	l := &y.levels[t.level]
	l.next = append(l.next, t)
	if !l.turns {
		y.turnLocked(t.level)
	}
}

func (y *youngTrees) turnLocked(level int) {
	l := &y.levels[level]
	l.now, l.next = l.next, nil
	l.turns = len(l.now) > 0
	if l.turns {
		time.AfterFunc(settleTimes[level], func() { y.walk(level) })
	}
}

func (y *youngTrees) walk(level int) {
	y.mu.Lock()
	trees := y.levels[level].now
	y.turnLocked(level)
	y.mu.Unlock()
	s, _ := scoresNow()
	for _, t := range trees {
		lives, found := t.walk(s)
		if last := level == len(settleTimes)-1; lives && (!last || found) {
			t.level = min(level+1, len(settleTimes)-1)
			y.add(t)
		}
	}
}
