package proc

import (
	"bytes"
	"os"
	"strconv"
	"sync"
)

// A family finds an exec's processes without a cgroup: the main process's
// process group and session, whatever descends from a member by living
// parents, and whatever it has found before. A process that made itself a
// session of its own, and whose parent died, before the family was first looked
// for is not found: it escapes.
//
// The main process must not have been reaped. A family is not safe for
// concurrent use.
type family struct {
	pid  int
	seen map[int]uint64 // pids, and when those processes were started
}

// empty takes two surveys: in one, a process can be missed that was forked after
// its place was read, by a parent that exited before its own was.
func (f *family) empty() bool {
	for range 2 {
		if len(f.members()) > 0 {
			return false
		}
	}
	return true
}

// members returns the living ones. Where /proc cannot be read it finds none.
func (f *family) members() []int {
	all := processes()
	in := map[int]uint64{}
	for grown := true; grown; {
		grown = false
		for _, s := range all {
			if _, known := in[s.pid]; !known && f.has(s, in) {
				in[s.pid], grown = s.started, true
			}
		}
	}
	f.seen = in
	var pids []int
	for _, s := range all {
		if _, ok := in[s.pid]; ok && !s.zombie {
			pids = append(pids, s.pid)
		}
	}
	return pids
}

func (f *family) has(s stat, in map[int]uint64) bool {
	if started, ok := f.seen[s.pid]; ok && started == s.started {
		return true
	}
	_, ok := in[s.parent]
	return ok || s.group == f.pid || s.session == f.pid
}

// A stat is what /proc/PID/stat says of a process, proc_pid_stat(5).
type stat struct {
	pid, parent, group, session int
	started                     uint64 // clock ticks since boot
	zombie                      bool
}

// A survey is one reading of /proc. Ending hundreds of trees at once takes
// a few, not hundreds.
type survey struct {
	once sync.Once
	all  []stat
}

var surveys struct {
	mu   sync.Mutex
	next *survey    // has not begun
	turn sync.Mutex // held by the one under way
}

// processes returns all processes, as they are at some moment after the call.
func processes() []stat {
	surveys.mu.Lock()
	if surveys.next == nil {
		surveys.next = new(survey)
	}
	s := surveys.next
	surveys.mu.Unlock()
	s.once.Do(func() {
		surveys.turn.Lock()
		defer surveys.turn.Unlock()
		surveys.mu.Lock()
		surveys.next = nil
		surveys.mu.Unlock()
		s.all = readProcesses()
	})
	return s.all
}

func readProcesses() []stat {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var all []stat
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if s, ok := readStat(pid); ok {
			all = append(all, s)
		}
	}
	return all
}

func readStat(pid int) (stat, bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, false
	}
	// The name, in parentheses, may hold anything; the rest does not.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return stat{}, false
	}
	number := func(i int) int { n, _ := strconv.Atoi(string(fields[i])); return n }
	started, _ := strconv.ParseUint(string(fields[19]), 10, 64)
	return stat{
		pid:     pid,
		started: started,
		zombie:  fields[0][0] == 'Z' || fields[0][0] == 'X',
		parent:  number(1),
		group:   number(2),
		session: number(3),
	}, true
}
