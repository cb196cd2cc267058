package guest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/netid"
)

// setDNS has the guest's programs ask the servers of n. If /etc/resolv.conf is a link to a file of
// systemd-resolved, that is told of them: by systemd-networkd, or by a file of its own.
func (m *manager) setDNS(n *netid.Network) (changed bool, note string, err error) {
	path := m.root + "/etc/resolv.conf"
	link, linkErr := os.Readlink(path)
	switch {
	case linkErr != nil:
		changed, err = renewResolvConf(path, n.DNS)
	case isResolveds(link) && m.networkd && m.hasNetworkFile(n):
		return false, "/etc/resolv.conf is systemd-resolved's: set by the file of systemd-networkd", nil
	case isResolveds(link):
		changed, note, err = m.setResolved(n.DNS)
	default: // another program's, which is in /run as a rule
		if !filepath.IsAbs(link) {
			link = filepath.Clean("/etc/" + link)
		}
		note = "/etc/resolv.conf is a link to " + link + ", which is changed"
		changed, err = renewResolvConf(m.root+link, n.DNS)
	}
	if errors.Is(err, unix.EROFS) {
		return false, "the resolvers could not be written: read-only file system", nil
	}
	return changed, note, err
}

// hasNetworkFile reports whether the file of an interface names the servers.
func (m *manager) hasNetworkFile(n *netid.Network) bool {
	for k := range n.Interfaces {
		if m.dnsOf(n, k) != nil {
			return true
		}
	}
	return false
}

// isResolveds reports whether a path is of a file that systemd-resolved writes or serves.
func isResolveds(path string) bool {
	return strings.Contains(path, "run/systemd/resolve/") || strings.HasSuffix(path, "lib/systemd/resolv.conf")
}

// setResolved writes a part of the configuration of systemd-resolved, and has that read it.
func (m *manager) setResolved(dns *netid.DNS) (changed bool, note string, err error) {
	directory := m.root + "/etc/systemd/resolved.conf.d"
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return false, "", err
	}
	changed, err = renewFile(directory+"/10-cocoon-agent.conf", "# Written by cocoon-agent at each reseed.\n[Resolve]\n"+resolveLines(dns))
	if !changed || err != nil {
		return changed, "", err
	}
	note = "systemd-resolved restarted"
	if systemctl := installed(m.root, "systemctl"); systemctl == "" {
		note = "systemd-resolved reads its file when it is restarted: no systemctl"
	} else if err := run(systemctl, "try-restart", "systemd-resolved.service"); err != nil {
		note = "systemd-resolved reads its file when it is restarted: " + err.Error()
	}
	return true, note, nil
}

// resolveLines are resolvers as systemd has them.
func resolveLines(dns *netid.DNS) string {
	var b strings.Builder
	for _, a := range dns.Servers {
		b.WriteString("DNS=" + a.String() + "\n")
	}
	if len(dns.Search) > 0 {
		b.WriteString("Domains=" + strings.Join(dns.Search, " ") + "\n")
	}
	return b.String()
}

// renewResolvConf replaces the servers and the search list of a resolv.conf(5). Other lines stay.
func renewResolvConf(path string, dns *netid.DNS) (changed bool, err error) {
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	var b strings.Builder
	for line := range strings.Lines(string(before)) {
		word, _, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
		if word != "nameserver" && word != "search" && word != "domain" {
			b.WriteString(strings.TrimRight(line, "\n") + "\n")
		}
	}
	if len(dns.Search) > 0 {
		b.WriteString("search " + strings.Join(dns.Search, " ") + "\n")
	}
	for _, a := range dns.Servers {
		b.WriteString("nameserver " + a.String() + "\n")
	}
	return renewFile(path, b.String())
}
