package proc

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc/cgroup"
)

func monotonic() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // never fails
	return time.Duration(t.Nano())
}

var past = time.Unix(1, 0) // a deadline that has passed

func (p *Process) suspend() {
	if p.suspended.Swap(true) {
		return
	}
	p.telling.Lock()
	p.endNudge() // the next program knows nothing of it
	for _, o := range p.outputs() {
		o.suspend()
	}
	if p.stdin != nil {
		_ = p.stdin.file.SetWriteDeadline(past)
	}
	if p.pidfd != nil {
		_ = p.pidfd.SetReadDeadline(past)
	}
}

func (p *Process) resume() {
	if !p.suspended.Swap(false) {
		return
	}
	p.telling.Unlock()
	for _, o := range p.outputs() {
		o.resume()
	}
	if p.stdin != nil {
		_ = p.stdin.file.SetWriteDeadline(time.Time{})
	}
	if p.pidfd != nil && !p.gaveUp.Load() {
		_ = p.pidfd.SetReadDeadline(time.Time{})
	}
}

// suspend has CopyTo return soon. It does not wait.
func (o *Output) suspend() {
	o.suspended.Store(true)
	_ = o.file.SetReadDeadline(past) // wakes a reader
}

// resume undoes suspend, once CopyTo has returned.
func (o *Output) resume() {
	o.suspended.Store(false)
	_ = o.file.SetReadDeadline(time.Time{})
}

func (p *Process) save() (*Saved, error) {
	if p.pidfd == nil {
		return nil, fmt.Errorf("process %d: %w: the kernel has no pidfd (Linux 5.3)", p.pid, ErrUnsupported)
	}
	s := &Saved{
		PID: p.pid, PIDFD: descriptor(p.pidfd), Stdin: -1, Stdout: -1, Stderr: -1, Terminal: p.terminal != nil,
		Asked: p.asked.Load(), Told: p.told, KillAt: p.killAt.Load(), Notes: p.notes,
		NoCgroup: text(p.noCgroup), HomeErr: text(p.homeErr), Retried: text(p.retried),
	}
	if p.stdin != nil {
		s.Stdin, s.InputEnded = descriptor(p.stdin.file), p.stdin.ended.Load()
	}
	if p.stdout != nil {
		s.Stdout, s.StdoutRest = descriptor(p.stdout.file), p.stdout.rest
	}
	if p.stderr != nil {
		s.Stderr, s.StderrRest = descriptor(p.stderr.file), p.stderr.rest
	}
	if p.cgroup != nil {
		s.Cgroup = p.cgroup.Save()
	}
	return s, nil
}

// descriptor returns that of an open file, or -1 if it is closed.
func descriptor(f *os.File) int {
	n := -1
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { n = int(fd) })
	}
	return n
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func errorOf(text string) error {
	if text == "" {
		return nil
	}
	return errors.New(text)
}

func (s *Spawner) adopt(saved *Saved) (*Process, error) {
	own.adopt(saved.PID)
	p := &Process{
		pid: saved.PID, notes: saved.Notes,
		noCgroup: errorOf(saved.NoCgroup), homeErr: errorOf(saved.HomeErr), retried: errorOf(saved.Retried),
		process: process{spawner: s, force: make(chan struct{}), ended: make(chan struct{}), pidfd: os.NewFile(uintptr(saved.PIDFD), "pidfd")},
	}
	p.asked.Store(saved.Asked)
	if saved.Cgroup != nil {
		p.cgroup = cgroup.Adopt(saved.Cgroup)
	}
	if err := p.adoptStreams(saved); err != nil {
		own.disown(saved.PID)
		_ = unix.Kill(saved.PID, unix.SIGKILL)
		return nil, fmt.Errorf("process %d: %w", saved.PID, err)
	}
	if saved.KillAt != 0 {
		p.ending.Do(func() {
			p.killAt.Store(saved.KillAt)
			p.told = saved.Told
			go p.endTree(max(0, time.Duration(saved.KillAt)-monotonic()))
		})
	}
	return p, nil
}

func (p *Process) adoptStreams(saved *Saved) (err error) {
	if saved.Terminal {
		file := os.NewFile(uintptr(saved.Stdout), "terminal")
		raw, err := pollable(file)
		if err != nil {
			return err
		}
		p.terminal = &terminal{file: file, raw: raw}
		p.stdin = &Input{file: file, raw: raw, terminal: p.terminal}
		p.stdin.ended.Store(saved.InputEnded)
		p.stdout = newTerminalOutput(file, raw)
		p.stdout.rest = saved.StdoutRest
		return nil
	}
	if saved.Stdin >= 0 {
		if p.stdin, err = newInput(os.NewFile(uintptr(saved.Stdin), "stdin")); err != nil {
			return err
		}
	}
	for _, o := range []struct {
		fd   int
		name string
		rest []byte
		to   **Output
	}{{saved.Stdout, "stdout", saved.StdoutRest, &p.stdout}, {saved.Stderr, "stderr", saved.StderrRest, &p.stderr}} {
		if o.fd < 0 {
			continue
		}
		if *o.to, err = newOutput(os.NewFile(uintptr(o.fd), o.name)); err != nil {
			return err
		}
		(*o.to).rest = o.rest
	}
	return nil
}

func (s *Spawner) save() (*SavedSpawner, error) {
	if n := s.engine.Stuck(); n > 0 {
		return nil, fmt.Errorf("%w: %d starts hang that cannot be ended", ErrResources, n)
	}
	saved := &SavedSpawner{}
	if protects.Load() {
		score := startedWith()
		saved.OOMScore = &score
	}
	if s.cgroups != nil {
		saved.Cgroups = s.cgroups.Save()
	}
	return saved, nil
}

func (s *Spawner) restore(saved *SavedSpawner, processes []*Saved, full func(left int)) (strays []string, err error) {
	if saved.OOMScore != nil {
		scoreHandedOver.Store(saved.OOMScore)
	}
	strays = endOtherChildren(processes)
	if saved.Cgroups == nil {
		return strays, s.useCgroups(full)
	}
	var used []*cgroup.Saved
	for _, p := range processes {
		if p.Cgroup != nil {
			used = append(used, p.Cgroup)
		}
	}
	c, others, err := cgroup.OpenSaved(saved.Cgroups, used, full)
	if err != nil {
		s.noCgroups = err
		return strays, err
	}
	s.cgroups = c
	return append(strays, others...), nil
}

// endOtherChildren kills children that nobody knows: of starts that were under way, for
// instance.
func endOtherChildren(known []*Saved) (ended []string) {
	session, err := unix.Getsid(0)
	if err != nil {
		return nil
	}
	pids := make(map[int]bool, len(known))
	for _, s := range known {
		pids[s.PID] = true
	}
	for _, pid := range childrenOfThreads() {
		if pids[pid] {
			continue
		}
		s, err := readStat(pid)
		if err != nil || s.session == session {
			continue // in the agent's own session is what no Spawner has started
		}
		if !s.zombie {
			name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			ended = append(ended, fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(string(name))))
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	return ended
}

// gone makes p one that was reaped.
func (p *Process) gone() {
	p.reaped, p.ended = true, make(chan struct{})
	p.ending.Do(func() { close(p.ended) })
}
