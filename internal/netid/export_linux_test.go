package netid

import (
	"net"

	"github.com/jsimonetti/rtnetlink/v2"
)

// SetMACDown gives the interface with the MAC old another one, as for a driver that wants it down.
func SetMACDown(mac, old net.HardwareAddr) []Outcome {
	id := identity{report: newReport()}
	var err error
	if id.conn, err = rtnetlink.Dial(nil); err != nil {
		id.fail("mac", err)
		return id.outcomes()
	}
	defer id.conn.Close()
	links, err := linksOf(id.conn)
	id.fail("mac", err)
	id.fail("mac", id.setMACDown(&Interface{MAC: mac, OldMAC: old}, byMAC(links, old)))
	return id.outcomes()
}
