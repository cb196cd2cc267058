package guest

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func reseed(s Seed) ([]Step, error) { return s.take(""), nil }

// take takes the steps below root, which is empty for /. The steps that use random
// numbers come after entropy.
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
		{"machine_id", s.MachineID, func() (bool, string, error) { return renewMachineID(root, s.Entropy) }},
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
