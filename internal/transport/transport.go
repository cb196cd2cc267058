// Package transport knows the sockets that lead to an agent: how a host names
// and dials one ([Target]), how an agent listens ([Address]), and who may
// connect ([Policy]). It carries bytes and knows nothing of what they mean.
package transport

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// DefaultPort is the vsock port of an agent if none is given.
const DefaultPort = 1024

// Context ids, from linux/vm_sockets.h.
const (
	CIDAny   = 1<<32 - 1 // VMADDR_CID_ANY: any of the guest's own, whatever it becomes
	CIDLocal = 1         // VMADDR_CID_LOCAL: loopback
	CIDHost  = 2         // VMADDR_CID_HOST
)

// The schemes of targets and addresses.
const (
	schemeVsock  = "vsock"
	schemeHybrid = "hvsock"
	schemeUnix   = "unix"
)

// maxUnixPath is the longest path of a Unix socket, in bytes: sun_path of
// unix(7) less its final NUL.
const maxUnixPath = 107

// A Target names an agent, from the host's side. Its zero value names none.
type Target struct {
	Scheme string // "vsock", "hvsock" or "unix"
	CID    uint32 // vsock
	Port   uint32 // vsock, hvsock
	Path   string // hvsock: the VMM's socket; unix: the agent's
	UID    uint32 // unix: who must serve the socket; 0: root, or this process's own user
}

// ParseTarget parses one of
//
//	vsock://CID[:PORT]         AF_VSOCK on the host: QEMU, crosvm with vhost-vsock
//	hvsock:///PATH[:PORT]      the VMM's Unix socket: Firecracker, Cloud Hypervisor
//	unix:///PATH[?uid=UID]     an agent that listens on a Unix socket
//
// If PORT is left out, it is [DefaultPort]. The text after the last colon of a path is
// its port. UID is [Target.UID]; a path may contain question marks. On Windows /C:/PATH
// is C:/PATH. The error says what is wrong with s.
func ParseTarget(s string) (Target, error) {
	scheme, rest, err := splitScheme(s, "vsock://CID:PORT, hvsock:///PATH:PORT or unix:///PATH")
	if err != nil {
		return Target{}, fmt.Errorf("target %q: %w", s, err)
	}
	t := Target{Scheme: scheme}
	switch scheme {
	case schemeVsock:
		t.CID, t.Port, err = parseVsock(rest)
	case schemeHybrid:
		t.Path, t.Port, err = parseHybrid(rest)
	case schemeUnix:
		t.Path, t.UID, err = parseUnix(rest)
	default:
		err = fmt.Errorf("unknown scheme %q: want vsock, hvsock or unix", scheme)
	}
	if err != nil {
		return Target{}, fmt.Errorf("target %q: %w", s, err)
	}
	return t, nil
}

// String returns the target in the form that [ParseTarget] takes.
func (t Target) String() string {
	switch t.Scheme {
	case schemeVsock:
		return fmt.Sprintf("vsock://%d:%d", t.CID, t.Port)
	case schemeHybrid:
		return fmt.Sprintf("hvsock://%s:%d", t.Path, t.Port)
	case schemeUnix:
		if t.UID != 0 {
			return fmt.Sprintf("unix://%s%s%d", t.Path, uidQuery, t.UID)
		}
	}
	return t.Scheme + "://" + t.Path
}

// An Address is where an agent listens.
type Address struct {
	Scheme string // "vsock" or "unix"
	Port   uint32 // vsock: any CID is bound
	Path   string // unix
}

// ParseAddress parses vsock://[:PORT] or unix:///PATH. If PORT is left out, it is
// [DefaultPort].
func ParseAddress(s string) (Address, error) {
	scheme, rest, err := splitScheme(s, "vsock://:PORT or unix:///PATH")
	if err != nil {
		return Address{}, fmt.Errorf("listen address %q: %w", s, err)
	}
	a := Address{Scheme: scheme}
	switch scheme {
	case schemeVsock:
		a.Port, err = parseListenPort(rest)
	case schemeUnix:
		a.Path, err = parsePath(rest)
	default:
		err = fmt.Errorf("unknown scheme %q: want vsock or unix", scheme)
	}
	if err != nil {
		return Address{}, fmt.Errorf("listen address %q: %w", s, err)
	}
	return a, nil
}

// String returns the address in the form that [ParseAddress] takes.
func (a Address) String() string {
	if a.Scheme == schemeVsock {
		return fmt.Sprintf("vsock://:%d", a.Port)
	}
	return a.Scheme + "://" + a.Path
}

func splitScheme(s, want string) (scheme, rest string, err error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return "", "", errors.New("no scheme: want " + want)
	}
	return scheme, rest, nil
}

func parseVsock(rest string) (cid, port uint32, err error) {
	host, portText, found := strings.Cut(rest, ":")
	port = DefaultPort
	if found {
		if port, err = parsePort(portText); err != nil {
			return 0, 0, err
		}
	}
	n, err := strconv.ParseUint(host, 10, 32)
	if err != nil || n == CIDAny {
		return 0, 0, fmt.Errorf("CID %q: want a number from 0 to %d", host, uint32(CIDAny)-1)
	}
	return uint32(n), port, nil
}

func parseListenPort(rest string) (uint32, error) {
	host, portText, found := strings.Cut(rest, ":")
	if host != "" {
		return 0, fmt.Errorf("CID %q: omit it, the agent listens on every CID of the guest", host)
	}
	if !found {
		return DefaultPort, nil
	}
	return parsePort(portText)
}

func parseHybrid(rest string) (path string, port uint32, err error) {
	path, port = rest, DefaultPort
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && !strings.Contains(rest[i:], "/") {
		if port, err = parsePort(rest[i+1:]); err != nil {
			return "", 0, err
		}
		path = rest[:i]
	}
	path, err = parsePath(path)
	return path, port, err
}

// uidQuery begins the last part of a Unix target, behind its path.
const uidQuery = "?uid="

func parseUnix(rest string) (path string, uid uint32, err error) {
	if i := strings.LastIndex(rest, uidQuery); i >= 0 && !strings.Contains(rest[i:], "/") {
		if uid, err = parseUID(rest[i+len(uidQuery):]); err != nil {
			return "", 0, err
		}
		rest = rest[:i]
	}
	path, err = parsePath(rest)
	return path, uid, err
}

// parseUID takes no 0: without a uid root is served, and this user besides.
func parseUID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 0 || n == 1<<32-1 { // 2^32-1 is (uid_t)-1, which means no user
		return 0, fmt.Errorf("uid %q: want a number from 1 to %d", s, uint32(1<<32-2))
	}
	return uint32(n), nil
}

func parsePort(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 0 || n == 1<<32-1 { // 2^32-1 is VMADDR_PORT_ANY
		return 0, fmt.Errorf("port %q: want a number from 1 to %d", s, uint32(1<<32-2))
	}
	return uint32(n), nil
}

func parsePath(path string) (string, error) {
	switch {
	case path == "":
		return "", errors.New("no path")
	case !strings.HasPrefix(path, "/"):
		return "", fmt.Errorf("path %q is not absolute: use three slashes, as in unix:///run/agent.sock", path)
	case strings.ContainsRune(path, 0):
		return "", errors.New("path has a NUL byte")
	case len(path) > maxUnixPath:
		return "", fmt.Errorf("path of %d bytes: want at most %d", len(path), maxUnixPath)
	}
	return path, nil
}
