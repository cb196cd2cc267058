package netid

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"golang.org/x/sys/unix"
)

const (
	// pollTime is how often missing interfaces are looked for.
	pollTime = 10 * time.Millisecond

	// rescanAfter is how long interfaces may take to come by themselves, if the whole
	// wait is four times as long or more. Then PCI is looked through for them.
	rescanAfter = time.Second
)

// await configures the interfaces that are there at once, and each of the others when it
// comes.
func (id *identity) await(wait time.Duration) {
	start := time.Now()
	missing := make([]int, len(id.all))
	for n := range missing {
		missing[n] = n
	}
	rescanned := false
	poll := time.NewTicker(pollTime)
	defer poll.Stop()
	for ; ; <-poll.C {
		missing = id.present(missing)
		since := time.Since(start)
		if !rescanned && len(missing) > 0 && since >= min(rescanAfter, wait/4) {
			id.rescan(missing)
			rescanned = true
			missing = id.present(missing) // a rescan has added devices when it returns
		}
		switch {
		case len(missing) == 0:
			return
		case since >= wait:
			for _, n := range missing {
				i := &id.all[n]
				id.fail("interfaces", fmt.Errorf("%w with the MAC %s within %v", ErrNotFound, either(i), wait))
			}
			return
		}
	}
}

// either names the MACs that an interface is looked for with.
func either(i *Interface) string {
	if i.OldMAC == nil || i.Replaced {
		return i.MAC.String()
	}
	return fmt.Sprintf("%s or %s", i.MAC, i.OldMAC)
}

// present configures those of the interfaces that are there, and returns the others.
func (id *identity) present(wanted []int) (missing []int) {
	links, err := linksOf(id.conn)
	if err != nil {
		id.fail("interfaces", err)
		return nil
	}
	for _, n := range wanted {
		i := &id.all[n]
		l, err := id.choose(links, i)
		switch {
		case err != nil:
			id.fail("interfaces", err)
		case l == nil:
			missing = append(missing, n)
		default:
			id.note("interfaces", fmt.Sprintf("%s has %s", l.name, l.mac))
			l.ports = portsOf(links, l, i.OldMAC)
			id.configure(i, l)
		}
	}
	return missing
}

// raise brings an interface up, as a new one is not.
func (id *identity) raise(l *link) {
	if l.up {
		return
	}
	if err := id.setFlags(l, unix.IFF_UP); err != nil {
		id.fail("interfaces", fmt.Errorf("bring %s up: %w", l.name, err))
		return
	}
	l.renewed = true
	id.changed["interfaces"] = true
	id.note("interfaces", l.name+" brought up")
}

func (id *identity) setFlags(l *link, flags uint32) error {
	return cause(id.conn.Link.Set(&rtnetlink.LinkMessage{Index: l.index, Flags: flags, Change: unix.IFF_UP}))
}

// rescan removes what the VMM has replaced and the guest still has, and has the kernel
// look for new PCI devices.
func (id *identity) rescan(missing []int) {
	links, err := linksOf(id.conn)
	id.fail("interfaces", err)
	for _, n := range missing {
		old := byMAC(links, id.all[n].OldMAC) // Replaced, or it were not missing
		if old != nil && old.isDevice() && old.master == 0 {
			id.retire(old)
		}
	}
	path := id.sys + "/bus/pci/rescan"
	if _, err := os.Stat(path); err != nil {
		return
	}
	if err := os.WriteFile(path, []byte("1"), 0); err != nil {
		id.note("interfaces", fmt.Sprintf("PCI not rescanned: %v", err))
		return
	}
	id.note("interfaces", "PCI rescanned")
}

// strip takes the addresses of an interface whose device is gone.
func (id *identity) strip(old *link) {
	addresses, err := id.addressesOf(old)
	id.fail("interfaces", err)
	for _, a := range addresses {
		id.fail("interfaces", id.deleteAddress(&a))
	}
	if len(addresses) > 0 {
		id.changed["interfaces"] = true
		id.noteGone(old)
	}
}

// retire strips an interface whose device is gone, and removes the device from the guest if it is on PCI.
func (id *identity) retire(old *link) {
	id.strip(old)
	if remove := id.pciRemove(old.name); remove != "" {
		if err := os.WriteFile(remove, []byte("1"), 0); err != nil {
			id.fail("interfaces", err)
			return
		}
		id.changed["interfaces"] = true
		id.note("interfaces", old.name+" removed")
		return
	}
	if !old.up {
		return
	}
	if err := id.setFlags(old, 0); err != nil {
		id.fail("interfaces", fmt.Errorf("take %s down: %w", old.name, err))
		return
	}
	id.changed["interfaces"] = true
	id.note("interfaces", old.name+" is not on PCI: taken down")
}

// pciRemove returns the file in sysfs that removes the PCI device of an interface, or "". A virtio
// device is a child of the PCI device.
func (id *identity) pciRemove(name string) string {
	device, err := filepath.EvalSymlinks(id.sys + "/class/net/" + name + "/device")
	if err != nil {
		return ""
	}
	for _, dir := range []string{device, filepath.Dir(device)} {
		bus, err := filepath.EvalSymlinks(dir + "/subsystem")
		if err == nil && strings.HasSuffix(bus, "/bus/pci") {
			return dir + "/remove"
		}
	}
	return ""
}
