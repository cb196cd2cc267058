//go:build linux

// Package lab starts the programs that are compared, each in a process of its own, and
// looks at those processes. It ends each process that it starts.
package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

// A Lab has what it takes to start servers.
type Lab struct {
	Agent string // the program under test
	Peer  string // the program of bench/peer
	Dir   string // for sockets, logs and keys

	OpenSSH string // a directory that openssh.sh has unpacked it in; empty: the installed one

	// Vsock says that servers listen on AF_VSOCK and are dialled by loopback,
	// which is for a guest of one's own: see [InGuest].
	Vsock bool

	servers int
}

// firstPort is above those that anything else would have in a guest.
const firstPort = 7000

// An endpoint is where a server listens, and how it is dialled.
type endpoint struct{ listen, target string }

func (l *Lab) endpoint(name string) endpoint {
	l.servers++
	if l.Vsock {
		port := firstPort + l.servers
		return endpoint{
			listen: fmt.Sprintf("vsock://:%d", port),
			target: fmt.Sprintf("vsock://%d:%d", transport.CIDLocal, port),
		}
	}
	url := "unix://" + filepath.Join(l.Dir, fmt.Sprintf("%s-%d", name, l.servers))
	return endpoint{listen: url, target: url}
}

// A Server is a process that listens.
type Server struct {
	*Process
	Target string
}

// Dial connects to the server.
func (s *Server) Dial(ctx context.Context) (net.Conn, error) {
	t, err := transport.ParseTarget(s.Target)
	if err != nil {
		return nil, err
	}
	return transport.Dial(ctx, t)
}

// StartAgent starts the agent and waits until it listens. wrap are programs in
// front of it, such as strace.
func (l *Lab) StartAgent(ctx context.Context, wrap ...string) (*Server, error) {
	return l.StartProgram(ctx, l.Agent, wrap...)
}

// StartProgram is StartAgent for another build of the agent.
func (l *Lab) StartProgram(ctx context.Context, program string, wrap ...string) (*Server, error) {
	at := l.endpoint("agent")
	argv := slices.Concat(wrap, []string{program, "serve", "--listen", at.listen})
	if l.Vsock {
		argv = append(argv, "--allow-cid", fmt.Sprint(transport.CIDLocal))
	}
	return l.serve(ctx, at, argv)
}

// StartUpgradable is StartAgent for an agent that "upgrade" can ask at the socket control, and that
// keeps as many detached commands as wanted.
func (l *Lab) StartUpgradable(ctx context.Context, commands int) (s *Server, control string, err error) {
	at := l.endpoint("agent")
	control = filepath.Join(l.Dir, fmt.Sprintf("control-%d", l.servers))
	s, err = l.serve(ctx, at, []string{
		l.Agent, "serve", "--listen", at.listen, "--control", control,
		"--max-kept", fmt.Sprint(commands), "--max-execs", fmt.Sprint(2*commands + 64), "--max-connection-execs", fmt.Sprint(commands + 64),
	})
	return s, control, err
}

// StartPeer starts one of bench/peer's servers and waits until it listens.
func (l *Lab) StartPeer(ctx context.Context, role string) (*Server, error) {
	at := l.endpoint(role)
	return l.serve(ctx, at, []string{l.Peer, role, at.listen})
}

func (l *Lab) serve(ctx context.Context, at endpoint, argv []string) (*Server, error) {
	p, err := l.start(argv)
	if err != nil {
		return nil, err
	}
	s := &Server{Process: p, Target: at.target}
	if err := s.awaitListening(ctx); err != nil {
		p.Stop()
		return nil, err
	}
	return s, nil
}

// InGuest returns the kind of this project's guest that this machine is, or "". In such
// a guest nobody else uses AF_VSOCK.
func InGuest() string {
	switch {
	case contains("/proc/cpuinfo", "User Mode Linux"):
		return "User-Mode Linux"
	case contains("/proc/cmdline", "cocoon-agent.guest"): // e2e/qemu/image.sh
		return "a guest of QEMU"
	default:
		return ""
	}
}

func contains(file, text string) bool {
	all, err := os.ReadFile(file)
	return err == nil && strings.Contains(string(all), text)
}
