package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"
)

// A family finds the processes of a tree without a cgroup: the main process's
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
		if pids, err := f.members(); len(pids) > 0 || err != nil {
			return false
		}
	}
	return true
}

// members returns the living ones. If there is no /proc it finds none; if /proc
// cannot be read for the moment, that is an error.
func (f *family) members() ([]stat, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	return f.among(all), nil
}

// among returns those of a survey that are members and live.
func (f *family) among(all []stat) []stat {
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
	var members []stat
	for _, s := range all {
		if _, ok := in[s.pid]; ok && !s.zombie {
			members = append(members, s)
		}
	}
	return members
}

func (f *family) has(s stat, in map[int]uint64) bool {
	if started, ok := f.seen[s.pid]; ok && started == s.started {
		return true
	}
	if s.group == f.pid || s.session == f.pid || s.parent == f.pid {
		return true // a number that nobody else can have
	}
	started, ok := in[s.parent]
	return ok && !replaced(s.parent, started)
}

// replaced reports whether pid has been given to another process since one that
// started then was read. A survey takes its time: a process that was read late
// may be the child of whoever has the pid of a member that was read early.
func replaced(pid int, started uint64) bool {
	now, err := readStat(pid)
	return err == nil && now.started != started
}

// A stat is what /proc/PID/stat says of a process, proc_pid_stat(5).
type stat struct {
	pid, parent, group, session int
	started                     uint64 // clock ticks since boot
	zombie                      bool   // all of it: a process whose first thread has exited has this state, too, and lives
}

// A survey is one reading of /proc. Ending hundreds of trees at once takes
// a few, not hundreds.
type survey struct {
	once sync.Once
	all  []stat
	err  error
}

var surveys struct {
	mu   sync.Mutex
	next *survey    // has not begun
	turn sync.Mutex // held by the one under way
}

// processes returns all processes, as they are at some moment after the call.
func processes() ([]stat, error) {
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
		s.all, s.err = readProcesses()
	})
	return s.all, s.err
}

// readProcesses fails if the agent is out of memory, files or the like.
func readProcesses() ([]stat, error) {
	names, err := readNames("/proc")
	if scarce(err) {
		return nil, err
	}
	var all []stat
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		s, err := readStat(pid)
		switch {
		case err == nil:
			all = append(all, s)
		case scarce(err):
			return nil, err
		}
	}
	return all, nil
}

func readNames(path string) ([]string, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// readStat fails if the process has gone.
func readStat(pid int) (stat, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, err
	}
	// The name, in parentheses, may hold anything; the rest does not.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return stat{}, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	number := func(i int) int { n, _ := strconv.Atoi(string(fields[i])); return n }
	started, _ := strconv.ParseUint(string(fields[19]), 10, 64)
	return stat{
		pid:     pid,
		started: started,
		zombie:  fields[0][0] == 'X' || fields[0][0] == 'Z' && number(17) <= 1,
		parent:  number(1),
		group:   number(2),
		session: number(3),
	}, nil
}
