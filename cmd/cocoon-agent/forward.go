package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/ports"
)

type forwardCommand struct {
	targetFlags

	Local  []string `short:"L" sep:"none" placeholder:"SPEC" help:"Listen on this host and connect to the guest: [BIND:]PORT:HOST:PORT, [BIND:]PORT:/GUEST.SOCK, /HOST.SOCK:HOST:PORT or /HOST.SOCK:/GUEST.SOCK. Repeatable."`
	Remote []string `short:"R" sep:"none" placeholder:"SPEC" help:"Listen in the guest and connect to a service of this host, or one that it can reach: [BIND:]PORT:HOST:PORT or [BIND:]PORT:/HOST.SOCK. The guest's operator must allow it (serve --allow-listen). Repeatable."`
	JSON   bool     `name:"json" help:"Print a JSON object for each bound address, once all are bound."`

	Ports []string `arg:"" optional:"" name:"port" help:"PORT, or LOCAL:PORT, of the loopback interfaces of host and guest."`
}

// Help is what --help says besides the flags.
func (*forwardCommand) Help() string {
	return `Listens on this host, and connects each connection to a service in the guest, until
interrupted. The guest needs no network. HOST is localhost, 127.0.0.1 or [::1] in the
guest. Without BIND, or with localhost, the host listens on 127.0.0.1 and ::1. BIND is an
IP address of the host, or * for all. Port 0 on the host is any free port. /HOST.SOCK is a
Unix socket that only the current user may connect to, and /GUEST.SOCK one of the guest
(or @NAME, an abstract one).

With -R it is the other way around: the guest listens on its loopback interface (BIND is
localhost, 127.0.0.1 or [::1]), and HOST is any host that this one can reach.

If one address cannot be bound, nothing is forwarded. A connection that the guest refuses
is reset, with a line on standard error; the others go on. When the VM is restored, open
connections are reset and new ones are made over a new connection to the agent. Exit status:

  0  interrupted
  1  the agent did not answer, or an address cannot be bound
  2  invalid command line

  cocoon-agent forward --cid 3 8080:80
  cocoon-agent forward --cid 3 -L 5432:/run/postgresql/.s.PGSQL.5432 -L /tmp/d.sock:/run/docker.sock`
}

// Run forwards until a signal comes.
func (c *forwardCommand) Run(k *kong.Context) error {
	specs, err := c.specs()
	if err != nil {
		return err
	}
	url, err := c.url(k)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	agent := newGuestPool(&c.targetFlags, url)
	defer agent.close()
	if _, err := agent.get(ctx); err != nil {
		return err
	}
	f := ports.Forwarder{Open: agent.open, Listen: agent.listen, End: agent.close, Failed: reportFailed, Waiting: reportWaiting}
	listeners, err := bind(ctx, &f, specs)
	if err != nil {
		return err
	}
	defer ports.CloseAll(listeners)
	if err := c.print(k.Stdout, listeners); err != nil {
		return err
	}
	return f.Serve(ctx, listeners)
}

// bind listens on the host and in the guest, or nowhere.
func bind(ctx context.Context, f *ports.Forwarder, specs []ports.Spec) ([]*ports.Listener, error) {
	remote := func(s ports.Spec) bool { return s.Reverse }
	local, err := ports.Listen(ctx, slices.DeleteFunc(slices.Clone(specs), remote))
	if err != nil {
		return nil, err
	}
	guest, err := f.ListenGuest(ctx, slices.DeleteFunc(specs, func(s ports.Spec) bool { return !remote(s) }))
	if err != nil {
		ports.CloseAll(local)
		return nil, err
	}
	return append(local, guest...), nil
}

// specs reads what is to be forwarded.
func (c *forwardCommand) specs() (specs []ports.Spec, err error) {
	for _, text := range c.Local {
		s, err := ports.ParseLocal(text)
		if err != nil {
			return nil, misuse("-L %w", err)
		}
		specs = append(specs, s)
	}
	for _, text := range c.Remote {
		s, err := ports.ParseRemote(text)
		if err != nil {
			return nil, misuse("-R %w", err)
		}
		specs = append(specs, s)
	}
	for _, text := range c.Ports {
		s, err := ports.ParsePort(text)
		if err != nil {
			return nil, &usageError{err}
		}
		specs = append(specs, s)
	}
	if len(specs) == 0 {
		return nil, misuse("nothing to forward: want PORT, LOCAL:PORT, -L or -R")
	}
	return specs, nil
}

// boundJSON is a contract: names and meanings stay.
type boundJSON struct {
	Local   string `json:"local"`
	Remote  string `json:"remote"`
	Reverse bool   `json:"reverse,omitempty"` // the guest listens
}

// print tells what is bound.
func (c *forwardCommand) print(out io.Writer, listeners []*ports.Listener) error {
	to := &checkedWriter{to: out}
	for _, l := range listeners {
		line := boundJSON{Local: l.Address(), Remote: l.Spec.Guest.String()}
		if l.Spec.Reverse {
			line = boundJSON{Local: l.Spec.Host.String(), Remote: l.Address(), Reverse: true}
		}
		switch {
		case c.JSON:
			_ = writeJSON(to, line) // to has the error
		case line.Reverse:
			fmt.Fprintf(to, "forwarding %s in the guest to %s\n", line.Remote, line.Local)
		default:
			fmt.Fprintf(to, "forwarding %s to %s\n", line.Local, line.Remote)
		}
	}
	return to.err
}

func reportFailed(l *ports.Listener, err error) {
	fmt.Fprintf(os.Stderr, "cocoon-agent: %s: connection refused: %s\n", printable(l.Address()), printable(err.Error()))
}

func reportWaiting(l *ports.Listener, err error) {
	fmt.Fprintf(os.Stderr, "cocoon-agent: %s: trying again to listen in the guest: %s\n", printable(l.Spec.Guest.String()), printable(err.Error()))
}

// A guestPool keeps the connection to one agent for as long as the program runs.
type guestPool struct {
	pool *client.Pool
	url  string

	mu   sync.Mutex
	last *client.Client // the latest one; nil: there was none
}

func newGuestPool(f *targetFlags, url string) *guestPool {
	const forever = 365 * 24 * time.Hour
	return &guestPool{url: url, pool: client.NewPool(client.PoolConfig{
		DialTimeout: f.ConnectTimeout, Protocol: f.protocol(), IdleTimeout: forever,
	})}
}

// get returns the connection, and tells when it is another one than before.
func (g *guestPool) get(ctx context.Context) (*client.Client, error) {
	c, err := g.pool.Get(ctx, g.url)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	again := g.last != nil && g.last != c
	g.last = c
	g.mu.Unlock()
	if again {
		fmt.Fprintf(os.Stderr, "cocoon-agent: reconnected to %s\n", printable(g.url))
	}
	return c, nil
}

// open opens a connection into the guest.
func (g *guestPool) open(ctx context.Context, to ports.Endpoint) (*client.GuestConn, error) {
	c, err := g.get(ctx)
	if err != nil {
		return nil, err
	}
	return c.OpenGuest(ctx, to.Network, to.Address)
}

// listen listens in the guest.
func (g *guestPool) listen(ctx context.Context, at ports.Endpoint) (*client.GuestListener, error) {
	c, err := g.get(ctx)
	if err != nil {
		return nil, err
	}
	return c.ListenGuest(ctx, at.Network, at.Address)
}

// close ends the connection, and all into the guest.
func (g *guestPool) close() {
	if err := g.pool.Close(); err != nil && !errors.Is(err, client.ErrPoolClosed) {
		fmt.Fprintf(os.Stderr, "cocoon-agent: %s\n", printable(err.Error()))
	}
}
