package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// maxFree is how many empty cgroups are kept for the next processes: making and
// removing one takes longer than starting a small process.
const maxFree = 64

// A cgroup of a pool goes through: free → taken → free again, or → left, if a daemon
// lives on in it after a normal exit, → free once it is empty. What is left is
// looked at when another one is given back. One that has been killed is removed.
type pool struct {
	folder  folder
	limited *limited // those of execs with limits

	mu   sync.Mutex
	free []*Group
	left []*Group
	made int
}

func open() (*Pool, error) {
	h, err := findHome()
	if err != nil {
		return nil, err
	}
	removeStale(h.dir)
	f, err := makeFolder(h.dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(f.path, "cgroup.kill")); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return &Pool{pool{folder: f, limited: newLimited(h, f.path+limitsSuffix)}}, nil
}

func (p *pool) checkLimits() error { return p.limited.why }

func (p *pool) take(limits Limits) (*Group, error) {
	if limits != (Limits{}) {
		return p.limited.take(limits)
	}
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		g := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return g, nil
	}
	p.made++
	name := fmt.Sprintf("exec-%d", p.made)
	p.mu.Unlock()
	return newGroup(filepath.Join(p.folder.path, name))
}

func (p *pool) give(g *Group) {
	if g.limited {
		p.limited.give(g)
		return
	}
	p.limited.sweep()
	g.used = true
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = append(p.left, g)
	still := p.left[:0]
	for _, g := range p.left {
		switch {
		case !g.empty():
			still = append(still, g)
		case len(p.free) < maxFree && !g.killed.Load():
			p.free = append(p.free, g)
		default:
			_ = g.remove()
		}
	}
	clear(p.left[len(still):])
	p.left = still
}

func (p *pool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.limited.close()
	for _, g := range p.free {
		err = errors.Join(err, g.remove())
	}
	for _, g := range p.left {
		_ = g.remove()
	}
	p.free, p.left = nil, nil
	return errors.Join(err, p.folder.close())
}
