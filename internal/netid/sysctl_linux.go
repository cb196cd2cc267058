package netid

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

func sysctlPath(protocol string, l *link, name string) string {
	return "/proc/sys/net/" + protocol + "/conf/" + l.name + "/" + name
}

func readSysctl(protocol string, l *link, name string) (string, error) {
	text, err := os.ReadFile(sysctlPath(protocol, l, name))
	return strings.TrimSpace(string(text)), err
}

func writeSysctl(protocol string, l *link, name, value string) error {
	return os.WriteFile(sysctlPath(protocol, l, name), []byte(value), 0)
}

// announcing has the kernel tell neighbours of each address when the MAC is set: by a gratuitous ARP
// request, or an unsolicited neighbour advertisement. The other addresses of a subnet then stay when
// its first one goes. It returns a function that undoes that.
func (id *identity) announcing(l *link) (restore func()) {
	var before []func()
	for _, s := range []struct{ protocol, name string }{
		{"ipv4", "arp_notify"}, {"ipv4", "promote_secondaries"}, {"ipv6", "ndisc_notify"},
	} {
		value, err := readSysctl(s.protocol, l, s.name)
		if err == nil && value != "1" {
			err = writeSysctl(s.protocol, l, s.name, "1")
			before = append(before, func() { _ = writeSysctl(s.protocol, l, s.name, value) }) // as it took the other
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			id.note("mac", fmt.Sprintf("neighbours of %s may not be told: %v", l.name, err))
		}
	}
	return func() {
		for _, undo := range before {
			undo()
		}
	}
}
