package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// cpuPeriod is the time over which a CPU quota is counted, in microseconds: the
// kernel's own default.
const cpuPeriod = 100_000

// A setting is a file of a cgroup and what is written to it.
type setting struct {
	controller, file, value string

	late     bool // set when the process has become the command
	optional bool // not every kernel has the file
}

func (l Limits) settings() []setting {
	var all []setting
	if l.Memory > 0 {
		all = append(all,
			setting{controller: "memory", file: "memory.max", value: strconv.FormatInt(l.Memory, 10), late: true},
			// Memory beyond the limit must not go to a disk instead.
			setting{controller: "memory", file: "memory.swap.max", value: "0", optional: true},
			// A command that has lost one of its processes is seldom of use, and its
			// exit would not show the loss: it is killed as a whole.
			setting{controller: "memory", file: "memory.oom.group", value: "1"})
	}
	if l.PIDs > 0 {
		all = append(all, setting{controller: "pids", file: "pids.max", value: strconv.FormatInt(l.PIDs, 10)})
	}
	if l.CPU > 0 {
		value := fmt.Sprintf("%d %d", l.CPU*(cpuPeriod/1000), cpuPeriod)
		all = append(all, setting{controller: "cpu", file: "cpu.max", value: value, late: true})
	}
	return all
}

// set is done before there is a process. A late setting is tried, so that it is
// refused in time, and undone.
func (g *group) set(settings []setting) error {
	for _, s := range settings {
		if err := s.apply(g.path); err != nil {
			return err
		}
		if !s.late {
			continue
		}
		g.late = append(g.late, s)
		s.value = "max"
		if err := s.apply(g.path); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) setLate() error {
	var failed []error
	for _, s := range g.late {
		failed = append(failed, s.apply(g.path))
	}
	return errors.Join(failed...)
}

func (s setting) apply(dir string) error {
	err := writeControl(filepath.Join(dir, s.file), s.value)
	if s.optional && errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// writeControl writes to a file that is there. os.WriteFile would try to make
// it, and its error would be another.
func writeControl(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}
