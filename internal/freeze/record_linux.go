package freeze

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A record is what may be frozen. The guard has its file locked as long as it lives.
type record struct {
	Groups []string `json:"groups,omitempty"`
	Mounts []point  `json:"mounts,omitempty"`
	Hooks  bool     `json:"hooks,omitempty"`

	file *os.File
}

var errOther = errors.New("another agent has the guest quiesced")

// write writes the record before anything is frozen, and locks it. Without a path there is none, and
// it need not be had for the hooks alone.
func (r *record) write(path string) error {
	needed := len(r.Groups)+len(r.Mounts) > 0
	if path == "" || !needed && !r.Hooks {
		return nil
	}
	if err := r.writeTo(path); needed {
		return err
	}
	return nil
}

func (r *record) writeTo(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := openLocked(path, time.Now().Add(lockTime))
	if err != nil {
		return err
	}
	r.file = file
	return r.rewrite()
}

// openLocked opens the file of a record, and waits for its lock: for a guard that ends, or an agent that
// starts.
func openLocked(path string, until time.Time) (*os.File, error) {
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		for !lock(file) {
			if time.Now().After(until) {
				return nil, errors.Join(errOther, file.Close())
			}
			<-time.After(lockPoll)
		}
		if isAt(path, file) {
			return file, nil
		}
		_ = file.Close()
	}
}

const (
	lockTime = time.Second
	lockPoll = 10 * time.Millisecond
)

func (r *record) rewrite() error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := r.file.Truncate(0); err != nil {
		return err
	}
	_, err = r.file.WriteAt(text, 0)
	return err
}

// settle removes the record once nothing is frozen. If the agent has ended, its next one has the hooks to
// run.
func (r *record) settle(why End) error {
	switch {
	case r.file == nil:
		return nil
	case why == AgentEnd && r.Hooks:
		r.Groups, r.Mounts = nil, nil
		return r.rewrite()
	default:
		return os.Remove(r.file.Name())
	}
}

// isAt reports whether a path still leads to a file that was opened by it, and locked later: whoever had
// the lock before may have removed the file.
func isAt(path string, f *os.File) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Lstat(path)
	return err == nil && os.SameFile(opened, now)
}

// lock reports whether nobody else has the file locked.
func lock(f *os.File) bool { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil }

func recoverFrom(path string) (found Recovered, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) { // it is not this user's
		return found, nil
	}
	if err != nil {
		return found, err
	}
	defer f.Close()
	switch {
	case !lock(f):
		return Recovered{Guarded: true}, nil
	case !isAt(path, f): // all went on meanwhile; there may be another record
		return recoverFrom(path)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return found, err
	}
	var r record
	if len(text) > 0 { // else nothing was frozen yet
		if err := json.Unmarshal(text, &r); err != nil {
			return found, fmt.Errorf("%s: %w", path, err)
		}
	}
	found.Hooks = r.Hooks
	if found.Thawed, err = r.thawAll(); err != nil {
		return found, err // the record stays for the next time
	}
	return found, os.Remove(path)
}

// thawAll has all go on that was frozen.
func (r *record) thawAll() (thawed []string, err error) {
	for i := range r.Mounts {
		p := r.Mounts[len(r.Mounts)-1-i]
		did, e := p.thaw()
		if did {
			thawed = append(thawed, p.Point)
		}
		if e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", p.Point, e))
		}
	}
	for _, group := range r.Groups {
		s, e := openGroup(group)
		if e == nil {
			if e = s.thaw(); e == nil {
				thawed = append(thawed, group)
			}
		}
		if e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("%s: %w", group, e))
		}
	}
	return thawed, err
}

// thaw thaws the file system, by whatever mount of it can be reached. It returns whether it was frozen.
func (p point) thaw() (did bool, err error) {
	all, err := readMounts()
	if err != nil {
		return false, err
	}
	tried := errUnreachable
	for _, m := range all {
		if m.device != p.Device || reach(m) == unreachable {
			continue
		}
		s, err := openMount(m.point)
		if err == nil {
			err = s.thaw()
		}
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, errThawed):
			return false, nil
		}
		tried = err
	}
	return false, tried
}

var errUnreachable = errors.New("perhaps still frozen, and no path leads to it: mount it, and run fsfreeze --unfreeze")
