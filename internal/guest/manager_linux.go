package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/netid"
)

// stateTime is how long systemd-networkd may take to write down which file it uses.
const stateTime = time.Second

// managerTime is how long one program that tells a service of a change may take.
const managerTime = 5 * time.Second

// A manager is the programs of a guest that configure its network, too.
type manager struct {
	root     string
	networkd bool
	others   []string
	hasDNS   bool // a file of systemd-networkd has the resolvers

	linkOf func(net.HardwareAddr) (*netid.Link, error) // netid.LinkOf, but in tests
}

// managerOf finds the network managers that run.
func managerOf(root string) *manager {
	m := manager{root: root, linkOf: netid.LinkOf}
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
	for _, i := range n.Interfaces {
		wrote, note, err := m.writeNetworkFile(&i, n.DNS)
		changed = changed || wrote
		errs = append(errs, err)
		if note != "" {
			notes = append(notes, note)
		}
	}
	if changed {
		notes = append(notes, m.reload())
	}
	for _, i := range n.Interfaces {
		errs = append(errs, m.checkFile(&i))
	}
	return changed, strings.Join(notes, "; "), inOneLine(errs)
}

// inOneLine joins errors. Some may be nil.
func inOneLine(errs []error) (joined error) {
	for _, err := range errs {
		switch {
		case joined == nil:
			joined = err
		case err != nil:
			joined = fmt.Errorf("%w; %w", joined, err)
		}
	}
	return joined
}

// networkFiles is the directory of the files of systemd-networkd.
const networkFiles = "/etc/systemd/network"

// writeNetworkFile writes the systemd.network(5) of an interface, and removes the one that it had in the
// snapshot. Settings that the network does not have stay as in that. The first file has the resolvers.
func (m *manager) writeNetworkFile(i *netid.Interface, dns *netid.DNS) (changed bool, note string, err error) {
	directory := m.root + networkFiles
	path := networkPath(directory, i.MAC)
	old := path
	if i.OldMAC != nil {
		old = networkPath(directory, i.OldMAC)
	}
	before, err := os.ReadFile(old)
	if errors.Is(err, os.ErrNotExist) && old != path { // the second time
		old = path
		before, err = os.ReadFile(old)
	}
	if ignoreMissing(err) != nil {
		return false, "", err
	}
	l, linkErr := m.linkOf(i.MAC)
	if linkErr != nil || l == nil { // a step before has failed
		l = &netid.Link{}
	}
	if l.Master { // the MAC is that of a port, too, which gets no addresses
		note = l.Name + " has ports: its addresses in files of systemd-networkd stay"
		i, dns = &netid.Interface{MAC: i.MAC, OldMAC: i.OldMAC}, nil
	}
	if err != nil && len(i.Addresses) == 0 {
		return false, note, nil // it has no file, as a rule
	}
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return false, note, err
	}
	if changed, err = renewFile(path, m.networkFile(i, dns, string(before), l)); err != nil {
		return false, note, err
	}
	m.hasDNS = m.hasDNS || dns != nil
	if old != path {
		gone := os.Remove(old)
		changed = changed || gone == nil
		err = ignoreMissing(gone)
	}
	return changed, note, err
}

// networkFile returns the text of the file of an interface. before is that of the file in the snapshot. If it is
// empty, the file gets the routes and resolvers of l that the network does not have.
func (m *manager) networkFile(i *netid.Interface, dns *netid.DNS, before string, l *netid.Link) string {
	routes := i.Routes
	f := parseNetworkFile(before)
	if before == "" {
		f = newNetworkFile(i.MAC)
	}
	if before == "" && len(routes) == 0 {
		routes = l.Routes
	}
	f.renameMAC(i.OldMAC, i.MAC)
	if len(i.Addresses) > 0 {
		f.setAddresses(i.Addresses)
	}
	if dns != nil {
		f.setDNS("[Network]", dns, !m.hasDNS)
	}
	if before == "" {
		f.add("[Network]", m.resolversOf(l, dns)...)
	}
	if len(routes) > 0 {
		f.setRoutes(routes)
	}
	if len(i.Addresses) > 0 || len(routes) > 0 || dns != nil {
		f.sign()
	}
	return f.String()
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

// checkFile fails if systemd-networkd configures an interface by another file than the agent's. It has told
// that in /run soon after it has read its files.
func (m *manager) checkFile(i *netid.Interface) error {
	own := networkPath(networkFiles, i.MAC)
	l, err := m.linkOf(i.MAC)
	if _, missing := os.Stat(m.root + own); missing != nil || err != nil || l == nil || l.Master {
		return nil // there is nothing to check
	}
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(stateTime); ; <-poll.C {
		text, err := os.ReadFile(m.statePath(l))
		used := valueOf(string(text), "NETWORK_FILE")
		switch _, statErr := os.Stat(m.root + used); {
		case err != nil || used == own:
			return ignoreMissing(err)
		case time.Now().Before(deadline):
		case used == "" || statErr != nil: // it has not read the files
			return nil
		default:
			return fmt.Errorf("systemd-networkd configures %s by %s, which comes before %s: remove or rename it", l.Name, used, own)
		}
	}
}

// resolversOf returns the lines of the resolvers that systemd-networkd has for an interface, but for the lists that
// dns has.
func (m *manager) resolversOf(l *netid.Link, dns *netid.DNS) (lines []string) {
	text, _ := os.ReadFile(m.statePath(l)) // there is none if networkd does not know the interface
	servers, domains := valueOf(string(text), "DNS"), valueOf(string(text), "DOMAINS")
	if servers != "" && (dns == nil || len(dns.Servers) == 0) {
		lines = append(lines, "DNS="+servers)
	}
	if domains != "" && (dns == nil || len(dns.Search) == 0) {
		lines = append(lines, "Domains="+domains)
	}
	return lines
}

// statePath returns the file in which systemd-networkd tells of an interface.
func (m *manager) statePath(l *netid.Link) string {
	return fmt.Sprintf("%s/run/systemd/netif/links/%d", m.root, l.Index)
}

// valueOf returns the value of a line NAME=VALUE.
func valueOf(text, name string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
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
