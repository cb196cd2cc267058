package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/netid"
)

// managerTime is how long one program that tells a service of a change may take.
const managerTime = 5 * time.Second

// A manager is the programs of a guest that configure its network, too.
type manager struct {
	root     string
	networkd bool
	others   []string
}

// managerOf finds the network managers that run.
func managerOf(root string) *manager {
	m := manager{root: root}
	names, _ := filepath.Glob(root + "/proc/[0-9]*/comm")
	for _, path := range names {
		text, _ := os.ReadFile(path)
		switch name := strings.TrimSpace(string(text)); name {
		case "systemd-network": // the kernel keeps 15 bytes
			m.networkd = isDirectory(root + "/run/systemd/netif") // or it is a container's
		case "NetworkManager", "connmand", "dhclient", "dhcpcd", "udhcpc", "wickedd":
			if !slices.Contains(m.others, name) {
				m.others = append(m.others, name)
			}
		}
	}
	for name, path := range map[string]string{"ifupdown": "/run/network/ifstate", "cloud-init": "/run/cloud-init"} {
		if _, err := os.Stat(root + path); err == nil {
			m.others = append(m.others, name)
		}
	}
	slices.Sort(m.others)
	return &m
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// configure writes what the interfaces are to be for systemd-networkd, if that runs. It names other
// managers, whose files stay as they are.
func (m *manager) configure(n *netid.Network) (changed bool, note string, err error) {
	var notes []string
	if len(m.others) > 0 {
		notes = append(notes, "may undo the changes, and have files of their own: "+strings.Join(m.others, ", "))
	}
	if !m.networkd {
		return false, strings.Join(append(notes, "systemd-networkd does not run: no file written"), "; "), nil
	}
	var errs []error
	for k, i := range n.Interfaces {
		wrote, err := m.writeNetworkFile(&i, m.dnsOf(n, k))
		changed = changed || wrote
		errs = append(errs, err)
	}
	if errors.Is(errors.Join(errs...), unix.EROFS) {
		return changed, "for this boot: /etc/systemd/network could not be written: read-only file system", nil
	}
	if changed {
		notes = append(notes, m.reload())
	}
	return changed, strings.Join(notes, "; "), errors.Join(errs...)
}

// dnsOf returns the resolvers for the file of interface k: the first that has a file gets them.
func (m *manager) dnsOf(n *netid.Network, k int) *netid.DNS {
	first := slices.IndexFunc(n.Interfaces, func(i netid.Interface) bool { return len(i.Addresses) > 0 })
	if n.DNS == nil || k != first {
		return nil
	}
	return n.DNS
}

// writeNetworkFile writes the systemd.network(5) of an interface, and removes the one that it had
// in the snapshot. If the addresses stay, so does the text of that, but for the MAC.
func (m *manager) writeNetworkFile(i *netid.Interface, dns *netid.DNS) (changed bool, err error) {
	directory := m.root + "/etc/systemd/network"
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return false, err
	}
	path, text := networkPath(directory, i.MAC), networkFile(i, dns)
	old := path
	if i.OldMAC != nil {
		old = networkPath(directory, i.OldMAC)
	}
	if len(i.Addresses) == 0 {
		before, err := os.ReadFile(old)
		if err != nil { // it has no file, as a rule
			return false, ignoreMissing(err)
		}
		text = strings.ReplaceAll(string(before), i.OldMAC.String(), i.MAC.String())
	}
	changed, err = renewFile(path, text)
	if err == nil && old != path {
		gone := os.Remove(old)
		changed = changed || gone == nil
		err = ignoreMissing(gone)
	}
	return changed, err
}

// ignoreMissing returns err, unless it is that a file does not exist.
func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// networkPath returns the path of the file of an interface, as cocoon names it.
func networkPath(directory string, mac net.HardwareAddr) string {
	return fmt.Sprintf("%s/10-%x.network", directory, []byte(mac))
}

func networkFile(i *netid.Interface, dns *netid.DNS) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by cocoon-agent at each reseed.\n[Match]\nMACAddress=%s\n\n[Network]\n", i.MAC)
	for _, a := range i.Addresses {
		fmt.Fprintf(&b, "Address=%s\n", a)
	}
	if dns != nil {
		b.WriteString(resolveLines(dns))
	}
	for _, r := range i.Routes {
		fmt.Fprintf(&b, "\n[Route]\nDestination=%s\n", r.To)
		if r.Via.IsValid() {
			fmt.Fprintf(&b, "Gateway=%s\n", r.Via)
		} else if r.To.Addr().Is4() {
			b.WriteString("Scope=link\n")
		}
		if r.Metric != 0 {
			fmt.Fprintf(&b, "Metric=%d\n", r.Metric)
		}
		if r.OnLink {
			b.WriteString("GatewayOnLink=yes\n")
		}
	}
	return b.String()
}

// reload has systemd-networkd read its files, and returns how that went. It then configures interfaces
// anew that have another file. It is not told to reconfigure them: it would delete all addresses and
// routes first.
func (m *manager) reload() (note string) {
	networkctl := installed(m.root, "networkctl")
	if _, err := os.Stat(m.root + "/run/dbus/system_bus_socket"); err != nil || networkctl == "" {
		return "systemd-networkd reads the files when it is restarted: no networkctl, or no D-Bus"
	}
	if err := run(networkctl, "reload"); err != nil {
		return fmt.Sprintf("systemd-networkd reads the files when it is restarted: %v", err)
	}
	return "systemd-networkd reloaded"
}

// run runs a program that tells a service of a change.
func run(program string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), managerTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s %s: not done within %v", filepath.Base(program), args[0], managerTime)
	default:
		return fmt.Errorf("%s %s: %w: %s", filepath.Base(program), args[0], err, bytes.TrimSpace(out))
	}
}

// renewFile gives a file a text, if it has another one. A file that is there keeps its mode.
func renewFile(path, text string) (changed bool, err error) {
	mode := fs.FileMode(0o644)
	before, err := os.ReadFile(path)
	switch info, statErr := os.Stat(path); {
	case err == nil && string(before) == text:
		return false, nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return false, err
	case statErr == nil:
		mode = info.Mode().Perm()
	}
	err = replaceFile(path, text, mode)
	return err == nil, err
}
