package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/client"
)

type waitCommand struct {
	targetFlags

	Timeout   time.Duration `short:"W" default:"60s" help:"Time limit. --connect-timeout is the limit of one attempt."`
	Announced *word         `placeholder:"PORT" help:"Wait for the agent's own word on PORT of the host (serve --announce vsock://2:PORT), instead of trying again and again. On Linux."`
}

// Help is what --help says besides the flags.
func (*waitCommand) Help() string {
	return `Tries to connect until the agent answers. It waits while the socket does not exist,
nothing listens on it, the VMM or the guest hangs up or is silent, or the agent takes
no more connections. It fails at once if another program or another user serves the
socket, or the agent refuses this host. After a second it prints the reason for waiting,
and again when that changes.

With --announced it tries once, and then when the agent has announced itself. Start it before
the VM, so that it hears the first announcement. Exit status:

  0  the agent is ready
  1  it was not ready in time, or waiting cannot help
  2  invalid command line

  cocoon-agent wait --timeout 30 --target hvsock:///run/vm/v.sock
  cocoon-agent client --wait 30 --cid 3 -- uname -a`
}

// Run waits.
func (w *waitCommand) Run(k *kong.Context) error {
	if w.Timeout <= 0 {
		return misuse("--timeout %v: want more than 0", w.Timeout)
	}
	url, err := w.url(k)
	if err != nil {
		return err
	}
	if w.Announced != nil {
		return w.listen(url, uint32(*w.Announced))
	}
	c, err := w.dialWaiting(context.Background(), url, w.Timeout)
	if err != nil {
		return err
	}
	return c.Close()
}

// listen waits for an announcement.
func (w *waitCommand) listen(url string, port uint32) error {
	l, err := client.ListenReady(url, port)
	if err != nil {
		return err
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), w.Timeout)
	defer cancel()
	_, err = l.Wait(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: no announcement on port %d within %v", url, port, w.Timeout)
	}
	return err
}
