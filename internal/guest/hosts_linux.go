package guest

import (
	"errors"
	"os"
	"strings"

	"github.com/cocoonstack/cocoon-agent/internal/netid"
)

// The lines around the agent's block in /etc/hosts. They do not end as the line of the hostname does.
const (
	hostsBegin = hostsMark + ": begin"
	hostsEnd   = hostsMark + ": end"
)

// setHosts has hosts(5) name hosts, in a block of its own. Other lines stay. A file that is missing
// is made.
func setHosts(root string, hosts []netid.Host) (changed bool, note string, err error) {
	path := followed(root, "/etc/hosts")
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, "", err
	}
	changed, err = renewFile(path, withoutBlock(string(before))+block(hosts))
	return changed, "", err
}

func block(hosts []netid.Host) string {
	var b strings.Builder
	b.WriteString(hostsBegin + "\n")
	for _, h := range hosts {
		b.WriteString(h.Address.String() + "\t" + strings.Join(h.Names, " ") + "\n")
	}
	b.WriteString(hostsEnd + "\n")
	return b.String()
}

// withoutBlock returns text without the agent's blocks. Of one without an end only the first line
// goes: nobody knows whose the others are.
func withoutBlock(text string) string {
	var kept, inside strings.Builder
	within := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n") + "\n"
		switch strings.TrimSpace(line) {
		case hostsBegin:
			kept.WriteString(inside.String())
			inside.Reset()
			within = true
			continue
		case hostsEnd:
			inside.Reset()
			within = false
			continue
		}
		if within {
			inside.WriteString(line)
		} else {
			kept.WriteString(line)
		}
	}
	return kept.String() + inside.String()
}
