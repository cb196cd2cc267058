package proc

import (
	"bytes"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// A family finds an exec's processes without a cgroup: the main process's
// process group and session, and whatever descends from a member by living
// parents. A process that has made itself a session of its own and whose
// parent has died is not found: it escapes.
//
// The main process must not have been reaped.
type family struct{ pid int }

func (f *family) signal(sig syscall.Signal) {
	_ = unix.Kill(-f.pid, sig)
	for _, pid := range f.members() {
		_ = unix.Kill(pid, sig)
	}
}

func (f *family) kill() { f.signal(unix.SIGKILL) }

func (f *family) empty() bool { return len(f.members()) == 0 }

// A stat is what /proc/PID/stat says of a process, proc_pid_stat(5).
type stat struct {
	pid, parent, group, session int
	zombie                      bool
}

// members returns the living ones. Where /proc cannot be read it finds none.
func (f *family) members() []int {
	all := processes()
	in := map[int]bool{f.pid: true}
	for grown := true; grown; {
		grown = false
		for _, s := range all {
			if !in[s.pid] && (in[s.parent] || s.group == f.pid || s.session == f.pid) {
				in[s.pid], grown = true, true
			}
		}
	}
	var pids []int
	for _, s := range all {
		if in[s.pid] && !s.zombie {
			pids = append(pids, s.pid)
		}
	}
	return pids
}

func processes() []stat {
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
	if len(fields) < 4 {
		return stat{}, false
	}
	number := func(i int) int { n, _ := strconv.Atoi(string(fields[i])); return n }
	return stat{
		pid:     pid,
		zombie:  fields[0][0] == 'Z' || fields[0][0] == 'X',
		parent:  number(1),
		group:   number(2),
		session: number(3),
	}, true
}
