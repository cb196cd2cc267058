package guest

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Errors of [Reseed] and its steps, by which the caller can class what went wrong.
var (
	// ErrEntropy says that the request makes no sense.
	ErrEntropy = errors.New("entropy of the wrong length")

	// ErrHostname says so too.
	ErrHostname = errors.New("invalid hostname")

	// ErrNotPermitted says that the agent lacks a privilege, or that a file
	// system is read-only.
	ErrNotPermitted = errors.New("not permitted")

	// ErrResources says that the disk is full, or the agent out of descriptors
	// or processes.
	ErrResources = errors.New("out of resources")
)

// How many bytes of entropy Reseed takes.
const (
	MinEntropy = 16
	MaxEntropy = 512
)

// A Seed is what makes a clone of a snapshot a machine of its own.
type Seed struct {
	Entropy []byte // for the kernel's random number generator; of this clone alone

	MachineID bool
	Hostname  string // empty: leave it
	SSHKeys   bool

	// Clock is what the wall clock was to say at Received; zero: leave it.
	// Received has a monotonic reading: what has gone by since is added.
	Clock     time.Time
	Received  time.Time
	ClockBack bool // set it though that means back
}

// A Step is what has become of one step of [Reseed].
type Step struct {
	Name    string
	Changed bool   // the guest is not as it was; also where Err says that not all was done
	Note    string // for people
	Err     error
}

// Reseed takes the steps that s asks for, one after the other: one that fails
// does not keep the others from being taken. Its own error says that s makes no
// sense, and then none has been taken. It may take as long as new keys do, and
// is not to be called again meanwhile.
func Reseed(s Seed) ([]Step, error) {
	if n := len(s.Entropy); n < MinEntropy || n > MaxEntropy {
		return nil, fmt.Errorf("%w: %d bytes: want %d to %d", ErrEntropy, n, MinEntropy, MaxEntropy)
	}
	if s.Hostname != "" {
		if err := checkHostname(s.Hostname); err != nil {
			return nil, err
		}
	}
	return s.take(""), nil
}

// take takes the steps below root, which is empty for /. What is random comes
// after entropy.
func (s *Seed) take(root string) []Step {
	var unseeded error
	var taken []Step
	for _, step := range []struct {
		name   string
		wanted bool
		do     func() (changed bool, note string, err error)
	}{
		{"entropy", true, func() (bool, string, error) {
			unseeded = addEntropy(s.Entropy)
			return unseeded == nil, "", unseeded
		}},
		{"random_seed", true, func() (bool, string, error) { return dropRandomSeed(root) }},
		{"machine_id", s.MachineID, func() (bool, string, error) { return newMachineID(root, s.Entropy) }},
		{"dbus_id", s.MachineID, func() (bool, string, error) { return dropBusID(root) }},
		{"clock", !s.Clock.IsZero(), s.setClock},
		{"hostname", s.Hostname != "", func() (bool, string, error) { return setHostname(root, s.Hostname) }},
		{"ssh_keys", s.SSHKeys, func() (bool, string, error) {
			if unseeded != nil {
				return false, "", fmt.Errorf("skipped, because keys could equal those of another clone: entropy: %w", unseeded)
			}
			return newHostKeys(root)
		}},
	} {
		if step.wanted {
			changed, note, err := step.do()
			taken = append(taken, Step{step.name, changed, note, classed(err)})
		}
	}
	return taken
}

func classed(err error) error {
	if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) {
		return fmt.Errorf("%w: %w", ErrNotPermitted, err)
	}
	for _, errno := range []error{unix.ENOSPC, unix.EDQUOT, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EAGAIN} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: %w", ErrResources, err)
		}
	}
	return err
}

// remove removes a file, if it is there. A read-only file system would not say
// that it is not.
func remove(path string) (changed bool, note string, err error) {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return false, "no such file", nil
	}
	err = os.Remove(path)
	return err == nil, "", err
}
