package guest

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/netid"
)

func reseed(s Seed) ([]Step, error) { return s.take(""), nil }

// take takes the steps below root, which is empty for /. The steps that use random
// numbers come after entropy.
//
// Until the network has its own addresses two VMs have the same: only entropy, which takes
// microseconds, comes before it. The files about it are written later, since a network manager may
// take seconds to read them.
func (s *Seed) take(root string) []Step {
	var taken []Step
	take := func(name string, wanted bool, do func() (changed bool, note string, err error)) {
		if wanted {
			changed, note, err := do()
			taken = append(taken, Step{name, changed, note, classed(err)})
		}
	}
	var unseeded error
	take("entropy", true, func() (bool, string, error) {
		unseeded = addEntropy(s.Entropy)
		return unseeded == nil, "", unseeded
	})
	taken = append(taken, s.takeNetwork(root)...)
	take("random_seed", true, func() (bool, string, error) { return dropRandomSeed(root) })
	take("machine_id", s.MachineID, func() (bool, string, error) { return renewMachineID(root, s.Entropy) })
	take("dbus_id", s.MachineID, func() (bool, string, error) { return dropBusID(root) })
	take("clock", !s.Clock.IsZero(), s.setClock)
	take("hostname", s.Hostname != "", func() (bool, string, error) { return setHostname(root, s.Hostname) })
	if n := s.Network; n != nil {
		m := managerOf(root)
		take("manager", len(n.Interfaces) > 0, func() (bool, string, error) { return m.configure(n) })
		take("dns", n.DNS != nil, func() (bool, string, error) { return m.setDNS(n) })
		take("hosts", len(n.Hosts) > 0, func() (bool, string, error) { return setHosts(root, n.Hosts) })
	}
	take("ssh_keys", s.SSHKeys, func() (bool, string, error) {
		if unseeded != nil {
			return false, "", fmt.Errorf("skipped, because keys could equal those of another clone: entropy: %w", unseeded)
		}
		return newHostKeys(root)
	})
	return taken
}

// takeNetwork has the kernel's interfaces configured.
func (s *Seed) takeNetwork(root string) (taken []Step) {
	if s.Network == nil || len(s.Network.Interfaces) == 0 {
		return nil
	}
	for _, o := range netid.Apply(s.Network, root+"/sys", s.Received) {
		taken = append(taken, Step{o.Step, o.Changed, o.Note, classed(o.Err)})
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
