package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func (g *group) save() *Saved {
	return &Saved{Path: g.path, Dir: g.dir, Events: g.events, Killer: g.killer, Limited: g.limited}
}

func adopt(s *Saved) *Group {
	return &Group{group{path: s.Path, dir: s.Dir, events: s.Events, killer: s.Killer, limited: s.Limited}}
}

// save leaves the keeper to its work: what it makes meanwhile has a number below Made.
func (p *pool) save() *SavedPool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &SavedPool{
		Path: p.directory.path, Lock: int(p.directory.lock.Fd()),
		Made: p.made + 2*ahead, Limited: p.limited.made.Load(), Left: slices.Clone(p.left),
	}
	for _, g := range p.behind {
		s.Left = append(s.Left, g.path)
	}
	return s
}

func openSaved(s *SavedPool, groups []*Saved, full func(left int)) (*Pool, []string, error) {
	h, err := findHome()
	if err != nil {
		return nil, nil, err
	}
	lock := os.NewFile(uintptr(s.Lock), s.Path)
	if _, err := lock.Stat(); err != nil {
		return nil, nil, fmt.Errorf("the lock of %s: %w", s.Path, err)
	}
	p := newPool(h, directory{s.Path, lock}, full)
	p.made, p.left = s.Made, s.Left
	p.limited.made.Store(s.Limited)
	others := p.endOthers(groups)
	go p.keep() // stopped by close, which waits for it
	return p, others, nil
}

// endOthers kills what lives in cgroups of the directory that are neither among the groups nor left
// behind, and has all of those removed.
func (p *pool) endOthers(groups []*Saved) (ended []string) {
	known := make(map[string]bool)
	for _, g := range groups {
		known[g.Path] = true
	}
	for _, path := range p.left {
		known[path] = true
	}
	for _, dir := range []string{p.directory.path, p.limited.path} {
		names, _ := subdirectories(dir)
		for _, name := range names {
			path := filepath.Join(dir, name)
			if known[path] || !strings.HasPrefix(name, execPrefix) {
				continue
			}
			if populated(path) {
				ended = append(ended, path)
				_ = os.WriteFile(filepath.Join(path, "cgroup.kill"), []byte("1"), 0)
			}
			p.left = append(p.left, path)
		}
	}
	return ended
}
