//go:build linux

package proc_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/lane"
)

// runVariable marks all children of this run, however far they have gone.
const runVariable = "PROC_TEST_RUN"

// openPoller opens what the runtime opens once and keeps.
func openPoller() {
	r, w, err := os.Pipe()
	if err == nil {
		_ = r.Close()
		_ = w.Close()
	}
}

// clean makes the test fail if it leaves something behind.
func clean(tb testing.TB) {
	tb.Helper()
	before := leftovers()
	tb.Cleanup(func() {
		if left := leftoversBeyond(before); len(left) > 0 {
			tb.Errorf("left behind: %v", left)
		}
	})
}

// leftoversBeyond waits for what is on its way out.
func leftoversBeyond(before map[string]bool) []string {
	var left []string
	poll(func() bool {
		left = nil
		for name := range leftovers() {
			if !before[name] {
				left = append(left, name)
			}
		}
		return len(left) == 0
	})
	return left
}

// leftovers are the fds of this process, its children (zombies too), the
// processes that descend from them, its cgroups, and what a copy claims.
func leftovers() map[string]bool {
	all := make(map[string]bool)
	for _, fd := range openFiles() {
		all[fd] = true
	}
	for _, pid := range pids() {
		if s := statOf(pid); s.parent == os.Getpid() {
			all[fmt.Sprintf("child %d %s %s", pid, s.state, s.name)] = true
		} else if ours(pid) {
			all[fmt.Sprintf("process %d %s %s", pid, s.state, s.name)] = true
		}
	}
	for _, dir := range cgroupDirs() {
		all["cgroup "+dir] = true
	}
	if n := lane.Bulk(); n != 0 {
		all[fmt.Sprint("large buffers for copies that are over: ", n)] = true
	}
	return all
}

func openFiles() []string {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return []string{err.Error()}
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var fds []string
	for _, name := range names {
		if name == strconv.Itoa(int(dir.Fd())) {
			continue
		}
		if target, err := os.Readlink("/proc/self/fd/" + name); err == nil {
			fds = append(fds, "fd "+name+" "+target)
		}
	}
	return fds
}

func pids() []int {
	names, _ := filepath.Glob("/proc/[1-9]*")
	var all []int
	for _, name := range names {
		if pid, err := strconv.Atoi(filepath.Base(name)); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

type processStat struct {
	name, state            string
	parent, group, session int
}

// statOf returns a zero processStat if there is no such process.
func statOf(pid int) processStat {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	before, after, ok := strings.Cut(string(text), "(")
	i := strings.LastIndex(after, ")")
	if !ok || i < 0 || before == "" {
		return processStat{}
	}
	s := processStat{name: after[:i]}
	_, _ = fmt.Sscan(after[i+1:], &s.state, &s.parent, &s.group, &s.session)
	return s
}

// alive says whether there is such a process and it is not a zombie.
func alive(pid int) bool {
	s := statOf(pid)
	return s.state != "" && s.state != "Z" && s.state != "X"
}

func ours(pid int) bool {
	env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	mark := fmt.Sprintf("%s=%d\x00", runVariable, os.Getpid())
	return pid != os.Getpid() && bytes.Contains(env, []byte(mark))
}

// cgroupDirs lists the cgroups that this process has made.
func cgroupDirs() []string {
	var names []string
	for _, home := range []string{ownCgroup(), filepath.Dir(ownCgroup())} {
		dir := filepath.Join(home, fmt.Sprintf("cocoon-agent.%d*", os.Getpid()))
		own, _ := filepath.Glob(dir)
		below, _ := filepath.Glob(filepath.Join(dir, "*"))
		names = slices.Concat(names, own, below)
	}
	var dirs []string
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			dirs = append(dirs, name)
		}
	}
	return dirs
}

// ownCgroup returns the directory of the cgroup v2 that this process is in, or "" if
// there is none.
func ownCgroup() string {
	membership, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(membership)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
			dir := filepath.Join(mount, path)
			if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); ok && err == nil {
				return dir
			}
		}
	}
	return ""
}
