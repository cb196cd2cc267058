package guest

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/cocoonstack/cocoon-agent/internal/netid"
)

// networkFileHead is the first line of a file of the agent's for systemd.
const networkFileHead = "# Written by cocoon-agent at each reseed."

// A networkFile is a systemd.network(5), or another file of systemd's of that form.
type networkFile []section

// A section begins with its name, but for the text before the first one.
type section struct {
	name  string // such as [Route]
	lines []string
}

func parseNetworkFile(text string) networkFile {
	f := networkFile{{}}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if name := strings.TrimSpace(line); strings.HasPrefix(name, "[") {
			f = append(f, section{name: name})
			continue
		}
		last := &f[len(f)-1]
		last.lines = append(last.lines, line)
	}
	return f
}

// newNetworkFile returns a file for the interface with a MAC.
func newNetworkFile(mac net.HardwareAddr) networkFile {
	return networkFile{{}, {"[Match]", []string{"MACAddress=" + mac.String()}}}
}

func (f networkFile) String() string {
	var b strings.Builder
	for _, s := range f {
		if s.name != "" {
			b.WriteString(s.name + "\n")
		}
		for _, line := range s.lines {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// keyOf returns the name of the setting in a line, or "".
func keyOf(line string) string {
	key, _, ok := strings.Cut(line, "=")
	if key = strings.TrimSpace(key); !ok || strings.HasPrefix(key, "#") || strings.HasPrefix(key, ";") {
		return ""
	}
	return key
}

// hasSettings reports whether the file says anything but comments.
func (f networkFile) hasSettings() bool {
	return slices.ContainsFunc(f, func(s section) bool {
		return slices.ContainsFunc(s.lines, func(line string) bool { return keyOf(line) != "" })
	})
}

// replace puts lines in the place of a setting of the sections with a name, or at the end of the first one. A setting
// goes on behind a line that ends with a backslash.
func (f *networkFile) replace(name, key string, lines ...string) {
	for n := range *f {
		s := &(*f)[n]
		if s.name != name {
			continue
		}
		var kept []string
		within := false
		for _, line := range s.lines {
			gone := within || keyOf(line) == key
			within = gone && strings.HasSuffix(line, `\`)
			if gone {
				kept = append(kept, lines...)
				lines = nil
				continue
			}
			kept = append(kept, line)
		}
		s.lines = kept
	}
	f.add(name, lines...)
}

// add adds lines to the first section with a name, which is made if it is missing.
func (f *networkFile) add(name string, lines ...string) {
	if len(lines) == 0 {
		return
	}
	n := slices.IndexFunc(*f, func(s section) bool { return s.name == name })
	if n < 0 {
		f.begin(name)
		n = len(*f) - 1
	}
	s := &(*f)[n]
	end := len(s.lines)
	for end > 0 && strings.TrimSpace(s.lines[end-1]) == "" {
		end--
	}
	s.lines = slices.Insert(s.lines, end, lines...)
}

// begin adds a section, after an empty line.
func (f *networkFile) begin(name string, lines ...string) {
	last := &(*f)[len(*f)-1]
	if end := len(last.lines); last.name != "" && (end == 0 || last.lines[end-1] != "") {
		last.lines = append(last.lines, "")
	}
	*f = append(*f, section{name, lines})
}

// sign has the file begin with the agent's line.
func (f networkFile) sign() {
	if first := &f[0]; !slices.Contains(first.lines, networkFileHead) {
		first.lines = slices.Insert(first.lines, 0, networkFileHead)
	}
}

// renameMAC has the file name another MAC in each MACAddress=, which may list several.
func (f networkFile) renameMAC(old, mac net.HardwareAddr) {
	for _, s := range f {
		for n, line := range s.lines {
			_, value, _ := strings.Cut(line, "=")
			if keyOf(line) != "MACAddress" || old == nil {
				continue
			}
			words := strings.Fields(value)
			renamed := false
			for k, word := range words {
				if one, err := net.ParseMAC(word); err == nil && bytes.Equal(one, old) {
					words[k], renamed = mac.String(), true
				}
			}
			if renamed {
				s.lines[n] = "MACAddress=" + strings.Join(words, " ")
			}
		}
	}
}

// setAddresses has the file give the interface these addresses and no other fixed ones.
func (f *networkFile) setAddresses(all []netip.Prefix) {
	*f = slices.DeleteFunc(*f, func(s section) bool { return s.name == "[Address]" })
	var lines []string
	for _, a := range all {
		lines = append(lines, "Address="+a.String())
	}
	f.replace("[Network]", "Address", lines...)
}

// setRoutes replaces the routes of the file. Those of other tables and types stay.
func (f *networkFile) setRoutes(all []netid.Route) {
	f.replace("[Network]", "Gateway")
	*f = slices.DeleteFunc(*f, func(s section) bool {
		special := slices.ContainsFunc(s.lines, func(line string) bool { return keyOf(line) == "Table" || keyOf(line) == "Type" })
		return s.name == "[Route]" && !special
	})
	for _, r := range all {
		f.begin("[Route]", routeLines(r)...)
	}
}

func routeLines(r netid.Route) []string {
	lines := []string{"Destination=" + r.To.String()}
	if r.Via.IsValid() {
		lines = append(lines, "Gateway="+r.Via.String())
	} else if r.To.Addr().Is4() {
		lines = append(lines, "Scope=link")
	}
	if r.Metric != 0 {
		lines = append(lines, fmt.Sprintf("Metric=%d", r.Metric))
	}
	if r.OnLink {
		lines = append(lines, "GatewayOnLink=yes")
	}
	return lines
}

// setDNS replaces the lists of a section that dns has. With write they get those of dns.
func (f *networkFile) setDNS(name string, dns *netid.DNS, write bool) {
	var servers, domains []string
	if write {
		for _, a := range dns.Servers {
			servers = append(servers, "DNS="+a.String())
		}
		domains = []string{"Domains=" + strings.Join(dns.Search, " ")}
	}
	if len(dns.Servers) > 0 {
		f.replace(name, "DNS", servers...)
	}
	if len(dns.Search) > 0 {
		f.replace(name, "Domains", domains...)
	}
}
