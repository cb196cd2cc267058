package netid

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
)

// An identity is one call of Apply.
type identity struct {
	*report
	conn     *rtnetlink.Conn
	sys      string
	received time.Time
	all      []Interface
}

func apply(n *Network, sys string, received time.Time) []Outcome {
	id := identity{report: newReport(), sys: sys, received: received, all: n.Interfaces}
	conn, err := rtnetlink.Dial(nil)
	if err != nil {
		id.fail("interfaces", cause(err))
		return id.outcomes()
	}
	defer conn.Close()
	_ = conn.SetOption(netlink.ExtendedAcknowledge, true) // errors only say less without it
	id.conn = conn
	id.await(n.Wait)
	return id.outcomes()
}

// configure carries out all steps for one interface that was found.
//
// The new addresses and routes come before the old ones go, so that there is no moment without
// a default route, even if the old one goes with its source address. The MAC comes after the
// addresses: its change is what tells neighbours of them.
//
// Addresses and routes are added a second time: the kernel deletes new addresses with the first one
// of their subnet if it could not be told otherwise, and routes with the last address.
func (id *identity) configure(i *Interface, l *link) {
	l.renewed = !bytes.Equal(l.mac, i.MAC)
	id.setMACWhileDown(i, l)
	id.raise(l)
	restore := id.announcing(l)
	defer restore()
	routes := id.allRoutesOf(l)
	id.addAddresses(i, l)
	id.addRoutes(i, l)
	id.freeRoutes(i, l)
	id.dropAddresses(i, l)
	id.addAddresses(i, l)
	id.addRoutes(i, l)
	id.restoreRoutes(i, l, routes)
	found, permanent := id.neighboursOf(l)
	id.setMAC(i, l)
	id.dropRoutes(i, l)
	id.flushNeighbours(l, found)
	id.restoreNeighbours(l, permanent)
}

// cause is an error of netlink without the name of the operation.
func cause(err error) error {
	op, ok := errors.AsType[*netlink.OpError](err)
	switch {
	case !ok:
		return err
	case op.Message != "":
		return fmt.Errorf("%w: %s", op.Err, op.Message)
	default:
		return op.Err
	}
}
