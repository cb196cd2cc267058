package local

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// An Address is where a service of this machine is.
type Address struct {
	tries []endpoint // one after the other
}

type endpoint struct{ network, address string }

// maxPath is the longest path of a Unix socket, unix(7)'s sun_path without its
// NUL byte.
const maxPath = 107

// ParseAddress takes what net.Dial takes, as far as it names a service of this
// machine and nothing else:
//
//	tcp, tcp4, tcp6   HOST:PORT; HOST is localhost, or none, or a loopback address
//	unix              an absolute path, or @ and an abstract name
//
// localhost is 127.0.0.1 and then ::1, whatever the machine's resolver says. The
// error wraps [ErrInvalid].
func ParseAddress(network, address string) (Address, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
		return parseTCP(network, address)
	case "unix":
		return parseUnix(address)
	default:
		return Address{}, fmt.Errorf("%w: network %.16q: want tcp, tcp4, tcp6 or unix", ErrInvalid, network)
	}
}

func parseUnix(address string) (Address, error) {
	abstract := strings.HasPrefix(address, "@")
	switch {
	case abstract && len(address) == 1, !abstract && !strings.HasPrefix(address, "/"):
		return Address{}, fmt.Errorf("%w: unix address %.64q: want an absolute path, or @ and a name", ErrInvalid, address)
	case len(address) > maxPath:
		return Address{}, fmt.Errorf("%w: unix address of %d bytes: want at most %d", ErrInvalid, len(address), maxPath)
	case strings.ContainsRune(address, 0):
		return Address{}, fmt.Errorf("%w: unix address %q has a NUL byte", ErrInvalid, address)
	}
	return Address{[]endpoint{{"unix", address}}}, nil
}

func parseTCP(network, address string) (Address, error) {
	i := strings.LastIndexByte(address, ':')
	if i < 0 {
		return Address{}, fmt.Errorf("%w: address %.64q: want HOST:PORT", ErrInvalid, address)
	}
	host, service := address[:i], address[i+1:]
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil || port == 0 {
		return Address{}, fmt.Errorf("%w: port %.16q: want a number from 1 to 65535", ErrInvalid, service)
	}
	ips, err := parseHost(network, host)
	if err != nil {
		return Address{}, err
	}
	var a Address
	for _, ip := range ips {
		a.tries = append(a.tries, endpoint{network, netip.AddrPortFrom(ip, uint16(port)).String()})
	}
	return a, nil
}

func parseHost(network, host string) ([]netip.Addr, error) {
	four, six := netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()
	if host == "" || host == "localhost" {
		return map[string][]netip.Addr{"tcp": {four, six}, "tcp4": {four}, "tcp6": {six}}[network], nil
	}
	inner, bracketed := strings.CutPrefix(host, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	ip, err := netip.ParseAddr(inner)
	if err != nil || !ip.IsLoopback() || ip.Is4In6() || ip.Zone() != "" || bracketed != ip.Is6() || closed != ip.Is6() {
		return nil, fmt.Errorf("%w: host %.64q: want the guest itself: localhost, 127.0.0.1 or [::1]", ErrInvalid, host)
	}
	if ip.Is4() && network == "tcp6" || ip.Is6() && network == "tcp4" {
		return nil, fmt.Errorf("%w: %s is not an address of network %s", ErrInvalid, inner, network)
	}
	return []netip.Addr{ip}, nil
}
