package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	// ahead is how many cgroups are made before they are wanted: making one takes
	// as long as much of a start.
	ahead = 8

	// laterTime is how long a cgroup that was given back waits for others before it
	// is removed. It saves a wake-up for each.
	laterTime = 100 * time.Millisecond

	// The cgroups that could not be removed are tried again after minRetry, and
	// then after twice as long each time, up to maxRetry.
	minRetry = time.Second
	maxRetry = time.Minute

	// maxLeft bounds how many are tried again. The oldest are forgotten: the next
	// agent removes them.
	maxLeft = 1024
)

// A pool's cgroup goes through: ready → taken → behind → removed, or → left, if
// something is in it, → removed once it is empty. None is used twice: the processes
// of a command may freeze it, kill it, give it limits or another owner, and whatever
// is started in it later has that too. On Linux 6.1 and 6.18 a cgroup that was killed
// once, by anybody, kills all that is cloned into it later.
//
// A goroutine, the keeper, makes and removes them. No process waits for that.
type pool struct {
	directory directory
	limited   *limited // makes those of processes with limits

	full     func(left int)
	tellFull sync.Once

	wake    chan struct{} // has a token when there is work for the keeper
	closed  chan struct{} // closed when it is to end
	stopped chan struct{} // closed when it has

	mu     sync.Mutex
	ready  []*Group
	behind []*Group
	later  *time.Timer // wakes the keeper for what is behind
	armed  bool        // later runs
	left   []string    // their directories, the oldest first
	retry  time.Duration
	made   int
}

func open(full func(left int)) (*Pool, error) {
	h, err := findHome()
	if err != nil {
		return nil, err
	}
	removeStale(h.dir)
	f, err := makeDirectory(h.dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(f.path, "cgroup.kill")); err != nil {
		return nil, errors.Join(err, f.close())
	}
	p := newPool(h, f, full)
	go p.keep() // stopped by close, which waits for it
	return p, nil
}

func newPool(h home, f directory, full func(left int)) *Pool {
	p := &Pool{pool{
		directory: f, limited: newLimited(h, f.path+limitsSuffix), full: full,
		wake: make(chan struct{}, 1), closed: make(chan struct{}), stopped: make(chan struct{}),
	}}
	p.later = time.AfterFunc(maxRetry, p.lookLater)
	return p
}

func (p *pool) checkLimits() error { return p.limited.why }

func (p *pool) take(limits Limits) (*Group, error) {
	if limits != (Limits{}) {
		return p.limited.take(limits)
	}
	g, few := p.takeReady()
	if few {
		p.wakeKeeper()
	}
	if g != nil {
		return g, nil
	}
	g, err := p.newGroup()
	if err == nil {
		g.fresh = true
	}
	return g, err
}

// takeReady returns nil if none is ready. few says whether the keeper is to make more.
func (p *pool) takeReady() (g *Group, few bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.ready); n > 0 {
		g = p.ready[n-1]
		p.ready = p.ready[:n-1]
	}
	return g, len(p.ready) <= ahead/2
}

func (p *pool) newGroup() (*Group, error) {
	p.mu.Lock()
	p.made++
	name := fmt.Sprint(execPrefix, p.made)
	p.mu.Unlock()
	return newGroup(filepath.Join(p.directory.path, name))
}

func (p *pool) give(g *Group) {
	p.mu.Lock()
	p.behind = append(p.behind, g)
	many := len(p.behind) >= ahead/2
	if !many && !p.armed {
		p.armed = true
		p.later.Reset(laterTime)
	}
	p.mu.Unlock()
	if many {
		p.wakeKeeper()
	}
}

func (p *pool) lookLater() {
	p.mu.Lock()
	p.armed = false
	p.mu.Unlock()
	p.wakeKeeper()
}

func (p *pool) wakeKeeper() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pool) countLeft() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.left)
}

// close leaves to daemons what they live in.
func (p *pool) directories() []string {
	all := []string{p.directory.path}
	if _, err := os.Stat(p.limited.path); err == nil {
		all = append(all, p.limited.path)
	}
	return all
}

func (p *pool) close() error {
	close(p.closed)
	<-p.stopped
	p.later.Stop()
	p.mu.Lock()
	groups := slices.Concat(p.ready, p.behind)
	left := p.left
	p.ready, p.behind, p.left = nil, nil, nil
	p.mu.Unlock()
	for _, g := range groups {
		left = append(left, g.path)
		g.close()
	}
	for _, path := range left {
		_ = removeTree(path)
	}
	return errors.Join(p.limited.close(), p.directory.close())
}
