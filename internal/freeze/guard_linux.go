package freeze

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pidfdNumber is the descriptor of the agent's process, in the guard.
const pidfdNumber = 3

// stuckTime is how long the guard waits for what is under way when all is to go on.
const stuckTime = time.Second

// A keeper is the guard's own side. A goroutine of its own, which may hang, freezes. Another one thaws.
type keeper struct {
	request *Request
	left    record // of what is frozen

	outMu sync.Mutex
	out   *json.Encoder // its lines are short: all of them fit into a pipe that nobody reads

	mu     sync.Mutex
	ending End      // why all goes on; empty: it does not
	step   string   // that is being taken
	under  string   // what of it is under way
	frozen []*still // in their order
	failed []string // what could not be thawed

	over chan End      // has a reason to end
	done chan struct{} // closed when nothing is being frozen any more
}

func serve(in, out *os.File) int {
	signal.Ignore(syscall.SIGPIPE) // the agent may have ended
	// A guard that is killed leaves file systems frozen.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
	k := &keeper{out: json.NewEncoder(out), over: make(chan End, 1), done: make(chan struct{})}
	w, err := newWatch(in)
	if err == nil {
		k.request, err = w.first()
	}
	if err == nil {
		err = w.arm(k.request.Within)
	}
	if err != nil {
		k.tell(failed(StepGuard, err))
		k.send(report{End: Failure})
		return 1
	}
	k.hold(w)
	return 0
}

// hold freezes all, and thaws it in the end.
func (k *keeper) hold(w *watch) {
	go k.freeze()                                     // ends when all is frozen, or goes on; or hangs
	go func() { <-w.signals; k.tellOver(GuardEnd) }() // ends with the program
	go func() { k.tellOver(w.wait()) }()              // ends with the program
	why := <-k.over
	k.thaw(why)
	select {
	case <-k.done:
		if err := k.left.settle(why); err != nil {
			k.note(err.Error())
		}
		k.report(why)
	case <-time.After(stuckTime):
		k.tell(k.stuck())
		k.report(why)
		<-k.done // what was being frozen is thawed by then
		_ = k.left.settle(why)
	}
}

// report says that all goes on.
func (k *keeper) report(why End) {
	k.mu.Lock()
	text := strings.Join(k.failed, "; ")
	k.mu.Unlock()
	k.send(report{End: why, Failed: clip(text, maxText)})
}

// tellOver says that all is to go on. The first reason counts.
func (k *keeper) tellOver(why End) {
	select {
	case k.over <- why:
	default:
	}
}

// freeze takes the steps, unless all is to go on meanwhile.
func (k *keeper) freeze() {
	defer close(k.done)
	k.begin(StepGuard, "opening what is to be frozen")
	groups, mounts, special, err := k.open()
	if err != nil {
		k.fail(StepGuard, err)
		return
	}
	if len(groups) > 0 && !k.take(StepExecs, groups, nil) {
		return
	}
	if k.begin(StepSync, "sync") {
		unix.Sync()
		k.tell(Step{Name: StepSync, Changed: true})
	}
	if len(mounts)+len(special) > 0 && !k.take(StepFileSystems, mounts, special) {
		return
	}
	if k.begin("", "") {
		k.send(report{Frozen: true})
	}
}

// begin notes what is under way, and returns whether to go on.
func (k *keeper) begin(step, what string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.step, k.under = step, what
	return k.ending == ""
}

// open opens all that is to be frozen, while that is possible, and has it recorded.
func (k *keeper) open() (groups, mounts []*still, special []string, err error) {
	r := k.request
	points := atPoints(r.Mounts)
	if r.FileSystems {
		if points, special, err = listMounts(); err != nil {
			return nil, nil, nil, err
		}
	}
	for _, path := range r.Groups {
		s, err := openGroup(path)
		if err != nil {
			return nil, nil, nil, err
		}
		groups = append(groups, s)
	}
	for _, p := range points {
		s, err := openMount(p.Point)
		if err != nil {
			return nil, nil, nil, err
		}
		mounts = append(mounts, s)
	}
	k.left = record{Groups: r.Groups, Mounts: points, Hooks: r.Hooks}
	return groups, mounts, special, k.left.write(r.Record)
}

// take freezes all, one after the other, and tells of the step. It returns whether to go on. The note
// names those that have no freeze.
func (k *keeper) take(name string, all []*still, special []string) bool {
	changed := false
	for _, s := range all {
		if !k.begin(name, s.name) {
			return false
		}
		err := k.stop(s)
		switch {
		case errors.Is(err, unix.EOPNOTSUPP):
			special = append(special, s.name+" cannot be frozen")
		case err != nil:
			k.fail(name, fmt.Errorf("%s: %w", s.name, err))
			return false
		default:
			changed = true
		}
	}
	k.tell(Step{Name: name, Note: joinSome(special), Changed: changed})
	return k.begin(name, "")
}

// fail tells of a step that has failed, and ends all.
func (k *keeper) fail(name string, err error) {
	k.tell(failed(name, err))
	k.tellOver(Failure)
}

// failed is a step that has failed.
func failed(name string, err error) Step {
	return Step{Name: name, Failed: clip(err.Error(), maxText), Denied: errors.Is(err, os.ErrPermission)}
}

// stuck is the step that has not ended when all was to go on.
func (k *keeper) stuck() Step {
	k.mu.Lock()
	defer k.mu.Unlock()
	return failed(k.step, fmt.Errorf("%s: not done when the guest had to go on", cmp.Or(k.under, k.step)))
}

// stop freezes one.
func (k *keeper) stop(s *still) error {
	err := s.freeze()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.frozen = append(k.frozen, s)
	}
	if k.ending != "" { // meanwhile
		k.thawLocked()
		return cmp.Or(err, errOver)
	}
	return err
}

var errOver = errors.New("the guest had to go on before it was frozen")

// tell reports a step.
func (k *keeper) tell(s Step) { k.send(report{Step: &s}) }

// send does not wait for the agent, which may hang.
func (k *keeper) send(r report) {
	k.outMu.Lock()
	defer k.outMu.Unlock()
	_ = k.out.Encode(r) // an agent that has ended is seen by watch
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

func (k *keeper) note(failed string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = append(k.failed, failed)
}

// Bounds of what a report has: a guest may have any number of file systems, with any names.
const (
	maxText  = 1024 // bytes
	maxNamed = 32   // file systems
	maxName  = 128  // bytes of each
)

// joinSome names some of all.
func joinSome(all []string) string {
	var some []string
	for _, name := range all[:min(len(all), maxNamed)] {
		some = append(some, clip(name, maxName))
	}
	if more := len(all) - maxNamed; more > 0 {
		some = append(some, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(some, ", ")
}

func clip(text string, most int) string {
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
