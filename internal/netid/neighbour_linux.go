package netid

import (
	"fmt"
	"slices"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// neighboursOf returns the neighbours that the kernel has found over an interface, and those that an
// administrator has set.
func (id *identity) neighboursOf(l *link) (found, permanent []rtnetlink.NeighMessage) {
	all, err := id.conn.Neigh.List()
	if err != nil {
		id.fail("neighbours", fmt.Errorf("neighbours of %s: %w", l.name, cause(err)))
		return nil, nil
	}
	for _, m := range all {
		switch {
		case m.Index != l.index || m.Attributes == nil:
		case m.State&(unix.NUD_PERMANENT|unix.NUD_NOARP) == 0:
			found = append(found, m)
		case len(m.Attributes.LLAddress) > 0 && m.Attributes.LLAddress[0]&1 == 0: // others are the kernel's, of groups
			permanent = append(permanent, m)
		}
	}
	return found, permanent
}

// restoreNeighbours sets the neighbours again that an administrator has set: the kernel forgets them with
// the old MAC.
func (id *identity) restoreNeighbours(l *link, permanent []rtnetlink.NeighMessage) {
	_, has := id.neighboursOf(l)
	restored := 0
	for _, m := range permanent {
		if slices.ContainsFunc(has, func(other rtnetlink.NeighMessage) bool { return other.Attributes.Address.Equal(m.Attributes.Address) }) {
			continue
		}
		_, err := id.conn.Execute(&m, unix.RTM_NEWNEIGH, netlink.Request|netlink.Acknowledge|netlink.Create|netlink.Replace)
		if err != nil {
			id.fail("neighbours", fmt.Errorf("%s: set %s again: %w", l.name, m.Attributes.Address, cause(err)))
			continue
		}
		restored++
	}
	if restored > 0 {
		id.note("neighbours", fmt.Sprintf("%d permanent ones of %s set again", restored, l.name))
	}
}

// flushNeighbours forgets the neighbours of an interface that has changed: they may be those of
// another network. A new MAC has had the kernel forget most of them.
func (id *identity) flushNeighbours(l *link, before []rtnetlink.NeighMessage) {
	if !l.renewed {
		return
	}
	id.changed["neighbours"] = id.changed["neighbours"] || len(before) > 0
	found, _ := id.neighboursOf(l)
	for _, m := range found {
		_, err := id.conn.Execute(&m, unix.RTM_DELNEIGH, netlink.Request|netlink.Acknowledge)
		if err := ignoring(cause(err), unix.ENOENT); err != nil {
			id.fail("neighbours", fmt.Errorf("%s: forget %s: %w", l.name, m.Attributes.Address, err))
		}
	}
}
