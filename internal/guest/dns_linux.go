package guest

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/cocoonstack/cocoon-agent/internal/netid"
)

// setDNS has the guest's programs ask the servers of n. If /etc/resolv.conf is a link to a file of
// systemd-resolved, that is told of them: by systemd-networkd, or by a file of its own.
func (m *manager) setDNS(n *netid.Network) (changed bool, note string, err error) {
	path, resolved := "/etc/resolv.conf", false
	for range maxLinks {
		link, err := os.Readlink(m.root + path)
		if err != nil {
			break
		}
		path = linkedPath(path, link)
		resolved = resolved || isResolveds(path)
	}
	switch {
	case resolved && m.hasDNS:
		changed, note, err = m.dropResolved(n.DNS)
		return changed, withNote("/etc/resolv.conf is systemd-resolved's: set by the file of systemd-networkd", note), err
	case resolved:
		return m.setResolved(n.DNS)
	}
	changed, err = renewResolvConf(m.root+path, n.DNS)
	if path != "/etc/resolv.conf" { // another program's, which is in /run as a rule
		note = "/etc/resolv.conf is a link to " + path
		if changed {
			note += ", which is changed"
		}
	}
	return changed, note, err
}

func withNote(first, second string) string {
	if second == "" {
		return first
	}
	return first + "; " + second
}

// isResolveds reports whether a path is of a file that systemd-resolved writes or serves.
func isResolveds(path string) bool {
	return strings.Contains(path, "run/systemd/resolve/") || strings.HasSuffix(path, "lib/systemd/resolv.conf")
}

// resolvedFile is the agent's part of the configuration of systemd-resolved.
const resolvedFile = "/etc/systemd/resolved.conf.d/10-cocoon-agent.conf"

// setResolved writes a part of the configuration of systemd-resolved, and has that read it. A list that
// dns does not have stays in it.
func (m *manager) setResolved(dns *netid.DNS) (changed bool, note string, err error) {
	path := m.root + resolvedFile
	before, err := os.ReadFile(path)
	if ignoreMissing(err) != nil {
		return false, "", err
	}
	f := parseNetworkFile(string(before))
	f.setDNS("[Resolve]", dns, true)
	f.sign()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, "", err
	}
	if changed, err = renewFile(path, f.String()); !changed || err != nil {
		return changed, "", err
	}
	return true, m.restartResolved(), nil
}

// dropResolved removes the lists of dns from the agent's part, and the file if it has no other.
func (m *manager) dropResolved(dns *netid.DNS) (changed bool, note string, err error) {
	path := m.root + resolvedFile
	before, err := os.ReadFile(path)
	if err != nil {
		return false, "", ignoreMissing(err)
	}
	f := parseNetworkFile(string(before))
	f.setDNS("[Resolve]", dns, false)
	if f.hasSettings() {
		changed, err = renewFile(path, f.String())
	} else {
		err = os.Remove(path)
		changed = err == nil
	}
	if !changed || err != nil {
		return changed, "", err
	}
	return true, m.restartResolved(), nil
}

// restartResolved has systemd-resolved read its files, and returns how that went.
func (m *manager) restartResolved() (note string) {
	systemctl := installed(m.root, "systemctl")
	if systemctl == "" {
		return "systemd-resolved reads its file when it is restarted: no systemctl"
	}
	if err := run(systemctl, "try-restart", "systemd-resolved.service"); err != nil {
		return "systemd-resolved reads its file when it is restarted: " + err.Error()
	}
	return "systemd-resolved restarted"
}

// renewResolvConf replaces the lists of a resolv.conf(5) that dns has: servers, and domains to search. Other lines stay.
func renewResolvConf(path string, dns *netid.DNS) (changed bool, err error) {
	before, err := os.ReadFile(path)
	if ignoreMissing(err) != nil {
		return false, err
	}
	var b strings.Builder
	for line := range strings.Lines(string(before)) {
		word, _, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
		word = strings.TrimSpace(word)
		replaced := len(dns.Servers) > 0 && word == "nameserver" || len(dns.Search) > 0 && (word == "search" || word == "domain")
		if !replaced {
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
