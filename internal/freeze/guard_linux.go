package freeze

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pidfdNumber is the descriptor of the agent's process, in the guard.
const pidfdNumber = 3

// stuckTime is how long the guard waits for a freeze that is under way when all is to go on.
const stuckTime = time.Second

// A keeper is the guard's own side.
type keeper struct {
	request Request
	out     *json.Encoder
	groups  []*still
	mounts  []*still
	left    record // of what is frozen

	mu     sync.Mutex
	ending End      // why all goes on; empty: it does not
	under  *still   // is being frozen; nil: none is
	frozen []*still // in their order
	failed []string // what could not be thawed

	over chan End      // has a reason to end
	done chan struct{} // closed when nothing is being frozen any more
}

func serve(in, out *os.File) int {
	k := &keeper{out: json.NewEncoder(out), over: make(chan End, 1), done: make(chan struct{})}
	// A guard that is killed leaves file systems frozen.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
	w, err := newWatch(in)
	if err == nil {
		err = k.prepare(w)
	}
	if err != nil {
		k.tell(failed(StepGuard, err))
		_ = k.out.Encode(report{End: Failure})
		return 1
	}
	k.hold(w)
	return 0
}

// prepare reads the request, and opens all that it names while that is possible.
func (k *keeper) prepare(w *watch) error {
	first, err := w.first()
	if err != nil {
		return err
	}
	k.request = *first
	if err := k.open(); err != nil {
		return err
	}
	if err := w.arm(k.request.Within); err != nil {
		return err
	}
	k.left = record{Groups: k.request.Groups, Mounts: k.request.Mounts}
	return writeRecord(k.request.Record, &k.left)
}

// hold freezes all, and thaws it in the end.
func (k *keeper) hold(w *watch) {
	go k.freeze()                                     // ends when all is frozen, or goes on
	go func() { <-w.signals; k.tellOver(AgentEnd) }() // ends with the program
	go func() { k.tellOver(w.wait()) }()              // ends with the program
	why := <-k.over
	k.thaw(why)
	select {
	case <-k.done:
		k.finish(why)
	case <-time.After(stuckTime):
		k.noteStuck()
		k.report(why)
		<-k.done // what was being frozen is thawed by then
		_ = k.left.remove()
	}
}

func (k *keeper) finish(why End) {
	if err := k.left.remove(); err != nil {
		k.note(err.Error())
	}
	k.report(why)
}

// report says that all goes on.
func (k *keeper) report(why End) {
	_ = k.out.Encode(report{End: why, Failed: strings.Join(k.failures(), "; ")})
}

// tellOver says that all is to go on. The first reason counts.
func (k *keeper) tellOver(why End) {
	select {
	case k.over <- why:
	default:
	}
}

// open opens all that is to be frozen, while that is possible.
func (k *keeper) open() error {
	for _, path := range k.request.Groups {
		s, err := openGroup(path)
		if err != nil {
			return err
		}
		k.groups = append(k.groups, s)
	}
	for _, path := range k.request.Mounts {
		s, err := openMount(path)
		if err != nil {
			return err
		}
		k.mounts = append(k.mounts, s)
	}
	return nil
}

// freeze takes the steps, unless all is to go on meanwhile.
func (k *keeper) freeze() {
	defer close(k.done)
	if len(k.groups) > 0 && !k.take(StepExecs, k.groups, "") {
		return
	}
	unix.Sync()
	if !k.tell(Step{Name: StepSync, Changed: true}) {
		return
	}
	if all := len(k.mounts) + len(k.request.Special); all > 0 && !k.take(StepFileSystems, k.mounts, strings.Join(k.request.Special, ", ")) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ending == "" {
		_ = k.out.Encode(report{Frozen: true})
	}
}

// take freezes all, one after the other, and tells of the step. It returns whether to go on.
func (k *keeper) take(name string, all []*still, note string) bool {
	for _, s := range all {
		if err := k.stop(s); err != nil {
			k.tell(failed(name, fmt.Errorf("%s: %w", s.name, err)))
			k.tellOver(Failure)
			return false
		}
	}
	return k.tell(Step{Name: name, Note: note, Changed: len(all) > 0})
}

// failed is a step that has failed.
func failed(name string, err error) Step {
	return Step{Name: name, Failed: err.Error(), Denied: errors.Is(err, os.ErrPermission)}
}

// stop freezes one.
func (k *keeper) stop(s *still) error {
	k.mu.Lock()
	if k.ending != "" {
		k.mu.Unlock()
		return errOver
	}
	k.under = s
	k.mu.Unlock()
	err := s.freeze()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.under = nil
	if err == nil {
		k.frozen = append(k.frozen, s)
	}
	if k.ending != "" { // meanwhile
		k.thawLocked()
		return cmp.Or(err, errOver)
	}
	return err
}

var errOver = errors.New("ended before it was frozen")

// tell reports a step, and returns whether to go on.
func (k *keeper) tell(s Step) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_ = k.out.Encode(report{Step: &s})
	return k.ending == ""
}

func (k *keeper) thaw(why End) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ending = why
	k.thawLocked()
}

// thawLocked thaws all, the last first. It is called with mu held.
func (k *keeper) thawLocked() {
	for _, s := range slices.Backward(k.frozen) {
		if err := s.thaw(); err != nil {
			k.failed = append(k.failed, fmt.Sprintf("%s: %v", s.name, err))
		}
	}
	k.frozen = nil
}

// noteStuck notes what is being frozen for too long. It is thawed when that ends.
func (k *keeper) noteStuck() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.under != nil {
		k.failed = append(k.failed, k.under.name+": the freeze does not end")
	}
}

func (k *keeper) note(failed string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = append(k.failed, failed)
}

func (k *keeper) failures() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}
