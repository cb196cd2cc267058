package session

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// handleSize is the length of a handle in bytes.
const handleSize = 16

// A handle names an exec of an agent and no other.
type handle [handleSize]byte

func newHandle() (h handle) {
	_, _ = rand.Read(h[:]) // never fails
	return h
}

// running is a table of the execs that run, on all connections. It is safe for
// concurrent use.
type running struct {
	mu    sync.Mutex
	execs map[handle]*execution
}

func (r *running) add(e *execution) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.execs[e.handle] = e
}

func (r *running) remove(e *execution) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.execs, e.handle)
}

// find returns the exec that h names, if it is one of a class of hosts.
func (r *running) find(h handle, class string) (task, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.execs[h]; ok && e.conn.peer.Class == class {
		return e, nil
	}
	return nil, fmt.Errorf("%w: no exec with the handle %s is running", errNoExec, hex.EncodeToString(h[:]))
}

// list describes the execs of a class of hosts, the oldest first.
func (r *running) list(class string) *wire.ExecList {
	r.mu.Lock()
	var all []*execution
	for _, e := range r.execs {
		if e.conn.peer.Class == class {
			all = append(all, e)
		}
	}
	r.mu.Unlock()
	slices.SortFunc(all, func(a, b *execution) int {
		return cmp.Or(a.begun.Compare(b.begun), cmp.Compare(a.process.PID(), b.process.PID()))
	})
	list := &wire.ExecList{}
	if len(all) > wire.MaxExecs {
		list.More = uint64(len(all) - wire.MaxExecs)
		all = all[:wire.MaxExecs]
	}
	for _, e := range all {
		list.Running = append(list.Running, e.state())
	}
	return list
}

func (e *execution) state() wire.ExecState {
	return wire.ExecState{
		Handle: e.handle[:], PID: e.process.PID(), Command: e.about.argv0, User: e.about.user, TTY: e.about.tty,
		Keep: e.keep, Connected: !e.conn.gone.Load(),
		RunningMS: uint64(time.Since(e.begun).Milliseconds()),
	}
}
