// Package ports is the host's side of forwarded ports: it reads what is to be
// forwarded, listens on the host, and connects each connection to a service in
// the guest.
package ports

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"

	"github.com/cocoonstack/cocoon-agent/internal/local"
)

// An Endpoint is an address, as package net has it: network is tcp or unix.
type Endpoint struct{ Network, Address string }

func (e Endpoint) String() string { return e.Address }

// A Spec says what is forwarded.
type Spec struct {
	Host  Endpoint // where to listen; a TCP address without a host is both loopback addresses
	Guest Endpoint

	Reverse bool // the guest listens, and Host is the service
}

// anyHost is all addresses of the host.
const anyHost = "*"

// ParsePort reads PORT, which is the same on both sides, or LOCAL:PORT, with both on
// loopback. LOCAL may be empty or 0: any free port.
func ParsePort(text string) (Spec, error) {
	host, guest, two := strings.Cut(text, ":")
	switch {
	case !two:
		guest = host
	case host == "":
		host = "0"
	}
	port, err := parsePort(host, two)
	if err == nil {
		_, err = parsePort(guest, false)
	}
	if err != nil {
		return Spec{}, fmt.Errorf("%q: %w; the form is PORT or LOCAL:PORT", text, err)
	}
	return Spec{Host: Endpoint{"tcp", ":" + port}, Guest: Endpoint{"tcp", "localhost:" + guest}}, nil
}

// ParseLocal reads [BIND:]PORT:HOST:PORT, [BIND:]PORT:/PATH, /PATH:HOST:PORT or
// /PATH:/PATH, as ssh -L has them. An abstract socket of the guest is @NAME.
func ParseLocal(text string) (Spec, error) {
	s, err := parseLocal(text)
	if err != nil {
		return Spec{}, fmt.Errorf("%q: %w", text, err)
	}
	return s, nil
}

func parseLocal(text string) (Spec, error) {
	host, guest, err := cutHost(text)
	if err != nil {
		return Spec{}, err
	}
	to, err := ParseGuest(guest)
	return Spec{Host: host, Guest: to}, err
}

// cutHost reads the host's end and returns what follows it.
func cutHost(text string) (e Endpoint, rest string, err error) {
	if n := volume(text); n > 0 || strings.HasPrefix(text, "/") {
		path, rest, ok := strings.Cut(text[n:], ":")
		if !ok {
			return e, "", errShape
		}
		return Endpoint{"unix", text[:n] + path}, rest, nil
	}
	bind, port, rest, ok := cutTCP(text)
	if !ok {
		return e, "", errShape
	}
	if bind, err = parseBind(bind); err != nil {
		return e, "", err
	}
	port, err = parsePort(port, true)
	return Endpoint{"tcp", bind + ":" + port}, rest, err
}

var errShape = errors.New("want [BIND:]PORT:HOST:PORT, [BIND:]PORT:/GUEST.SOCK, /HOST.SOCK:HOST:PORT or /HOST.SOCK:/GUEST.SOCK")

// volume returns the length of the drive that a path of a Windows host begins with, or 0.
func volume(text string) int {
	if runtime.GOOS == "windows" && len(text) > 2 && text[1] == ':' && (text[2] == '\\' || text[2] == '/') {
		return 2
	}
	return 0
}

// cutTCP reads [BIND:]PORT and returns what follows it.
func cutTCP(text string) (bind, port, rest string, ok bool) {
	words, rest := cutWords(text)
	switch len(words) {
	case 1:
		return "", words[0], rest, true
	case 2:
		return words[0], words[1], rest, true
	default:
		return "", "", "", false
	}
}

// cutWords returns what comes before the guest's end: a path, or the last two words.
func cutWords(text string) (words []string, rest string) {
	var all []int // where words end
	brackets := false
	for i, c := range text {
		switch {
		case c == '[':
			brackets = true
		case c == ']':
			brackets = false
		case c == ':' && !brackets:
			all = append(all, i)
			if next := text[i+1:]; strings.HasPrefix(next, "/") || strings.HasPrefix(next, "@") {
				return wordsOf(text, all), next
			}
		}
	}
	if len(all) < 2 {
		return nil, ""
	}
	all = all[:len(all)-1]
	return wordsOf(text, all), text[all[len(all)-1]+1:]
}

func wordsOf(text string, ends []int) (words []string) {
	begin := 0
	for _, end := range ends {
		words = append(words, text[begin:end])
		begin = end + 1
	}
	return words
}

// parseBind returns what to listen on as package net takes it: "" for loopback, anyHost, or an
// IP address, in brackets if it is one of IPv6.
func parseBind(text string) (string, error) {
	switch text {
	case "", "localhost":
		return "", nil
	case anyHost:
		return anyHost, nil
	}
	inner := strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	ip, err := netip.ParseAddr(inner)
	if err != nil || ip.Is6() != (inner != text) {
		return "", fmt.Errorf("bind address %q: want localhost, an IP address ([::1] in brackets), or * for all", text)
	}
	return text, nil
}

func parsePort(text string, free bool) (string, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	switch {
	case err != nil:
		return "", fmt.Errorf("port %q: want a number, 1 to 65535", text)
	case n == 0 && !free:
		return "", errors.New("port 0 in the guest: want 1 to 65535")
	default:
		return strconv.FormatUint(n, 10), nil
	}
}

// ParseGuest reads HOST:PORT, PORT, /PATH or @NAME, a service on the guest's loopback
// interface or a Unix socket.
func ParseGuest(text string) (Endpoint, error) {
	e := Endpoint{"tcp", text}
	switch {
	case strings.HasPrefix(text, "/"), strings.HasPrefix(text, "@"):
		e.Network = "unix"
	case text != "" && !strings.Contains(text, ":"):
		e.Address = net.JoinHostPort("localhost", text)
	}
	if _, err := local.ParseAddress(e.Network, e.Address); err != nil {
		return Endpoint{}, fmt.Errorf("guest's side: %w", err)
	}
	return e, nil
}
