package netid

import (
	"fmt"
	"slices"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// neighboursOf returns the neighbours that the kernel has found over an interface: not those that
// an administrator has set.
func (id *identity) neighboursOf(l *link) []rtnetlink.NeighMessage {
	all, err := id.conn.Neigh.List()
	if err != nil {
		id.fail("neighbours", fmt.Errorf("neighbours of %s: %w", l.name, cause(err)))
		return nil
	}
	return slices.DeleteFunc(all, func(m rtnetlink.NeighMessage) bool {
		return m.Index != l.index || m.State&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0 || m.Attributes == nil
	})
}

// flushNeighbours forgets the neighbours of an interface that has changed: they may be those of
// another network. A new MAC has had the kernel forget most of them.
func (id *identity) flushNeighbours(l *link, before []rtnetlink.NeighMessage) {
	if !l.renewed {
		return
	}
	id.changed["neighbours"] = id.changed["neighbours"] || len(before) > 0
	for _, m := range id.neighboursOf(l) {
		_, err := id.conn.Execute(&m, unix.RTM_DELNEIGH, netlink.Request|netlink.Acknowledge)
		if err := ignoring(cause(err), unix.ENOENT); err != nil {
			id.fail("neighbours", fmt.Errorf("%s: forget %s: %w", l.name, m.Attributes.Address, err))
		}
	}
}
