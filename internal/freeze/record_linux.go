package freeze

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A record is what may be frozen. The guard has its file locked as long as it lives.
type record struct {
	Groups []string `json:"groups,omitempty"`
	Mounts []string `json:"mounts,omitempty"`

	file *os.File
}

var errOther = errors.New("another agent has the guest quiesced")

// writeRecord writes the record before anything is frozen, and locks it. Without a path there is
// none.
func writeRecord(path string, r *record) error {
	if path == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if r.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600); err != nil {
		return err
	}
	if !lock(r.file) {
		return errOther
	}
	if err := r.file.Truncate(0); err != nil {
		return err
	}
	_, err = r.file.Write(text)
	return err
}

func (r *record) remove() error {
	if r.file == nil {
		return nil
	}
	return os.Remove(r.file.Name())
}

// lock reports whether nobody else has the file locked.
func lock(f *os.File) bool { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil }

func recoverFrom(path string) (thawed []string, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if !lock(f) {
		return nil, nil // its guard lives
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	var r record
	if len(text) > 0 { // else nothing was frozen yet
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	if thawed, err = r.thawAll(); err != nil {
		return thawed, err // the record stays for the next time
	}
	return thawed, os.Remove(path)
}

// thawAll has all go on that was frozen.
func (r *record) thawAll() (thawed []string, err error) {
	for i := range r.Mounts {
		point := r.Mounts[len(r.Mounts)-1-i]
		s, e := openMount(point)
		if e == nil {
			e = s.thaw()
		}
		switch {
		case e == nil:
			thawed = append(thawed, point)
		case !errors.Is(e, unix.EINVAL) && !errors.Is(e, os.ErrNotExist): // it was not frozen, or has gone
			err = errors.Join(err, fmt.Errorf("%s: %w", point, e))
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
