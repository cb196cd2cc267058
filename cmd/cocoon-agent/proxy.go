package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/ports"
)

type proxyCommand struct {
	targetFlags

	Guest string `arg:"" name:"address" help:"Service in the guest: HOST:PORT, PORT, /GUEST.SOCK or @NAME. HOST is localhost, 127.0.0.1 or [::1]."`
}

// Help is what --help says besides the flags.
func (*proxyCommand) Help() string {
	return `Connects standard input and standard output to a service in the guest. The end of standard
input ends only what the service gets. The program ends when the service has ended what it
sends, even if standard input is open. Exit status:

  0  the service ended the connection
  1  the agent or the service did not answer, or the connection broke
  2  invalid command line

  ssh -o ProxyCommand='cocoon-agent proxy --cid 3 localhost:22' root@vm`
}

// Run copies until the service ends.
func (p *proxyCommand) Run(k *kong.Context) error {
	to, err := ports.ParseGuest(p.Guest)
	if err != nil {
		return &usageError{fmt.Errorf("%q: %w", p.Guest, err)}
	}
	url, err := p.url(k)
	if err != nil {
		return err
	}
	ctx := context.Background()
	c, err := p.dial(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close()
	nc, err := c.DialGuest(ctx, to.Network, to.Address)
	if err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	if err := proxy(nc.(*client.GuestConn), os.Stdin, os.Stdout); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	return nil
}

// proxy copies both ways until the service has ended what it sends. It leaves a goroutine
// that reads from in. If in fails, the connection is reset.
func proxy(g *client.GuestConn, in io.Reader, out io.Writer) error {
	var failed atomic.Pointer[error] // why in has failed
	go func() {                      // ends with in, a write after the service's end, or the program
		_, err := io.CopyBuffer(struct{ io.Writer }{g}, struct{ io.Reader }{in}, make([]byte, proxyBuffer))
		if err == nil {
			_ = g.CloseWrite()
			return
		}
		failed.CompareAndSwap(nil, &err)
		_ = g.Reset() // does nothing after an error of the connection
	}()
	_, err := g.WriteTo(out)
	if why := failed.Load(); why != nil && errors.Is(err, os.ErrClosed) {
		return *why
	}
	return err
}

// proxyBuffer is what is read of standard input at a time.
const proxyBuffer = 64 << 10
