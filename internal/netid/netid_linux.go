package netid

import (
	"bytes"
	"errors"
	"fmt"
	"net"
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

// A link is an interface that was found.
type link struct {
	index   uint32
	name    string
	mac     net.HardwareAddr
	up      bool
	renewed bool // something has changed that neighbours know, or know of them
}

// configure carries out all steps for one interface that was found.
//
// The new addresses and routes come before the old ones go, so that there is no moment without
// a default route, even if the old one goes with its source address. The MAC comes after the
// addresses: its change is what tells neighbours of them.
func (id *identity) configure(i *Interface, l *link) {
	l.renewed = !bytes.Equal(l.mac, i.MAC)
	id.raise(l)
	restore := id.announcing(l)
	defer restore()
	id.addAddresses(i, l)
	id.addRoutes(i, l)
	id.dropAddresses(i, l)
	before := id.neighboursOf(l)
	id.setMAC(i, l)
	id.dropRoutes(i, l)
	id.flushNeighbours(l, before)
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
