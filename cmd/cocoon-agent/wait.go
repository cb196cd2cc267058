package main

import (
	"context"
	"time"

	"github.com/alecthomas/kong"
)

type waitCommand struct {
	targetFlags

	Timeout time.Duration `short:"W" default:"60s" help:"Time limit. --connect-timeout is the limit of one attempt."`
}

// Help is what --help says besides the flags.
func (*waitCommand) Help() string {
	return `Tries to connect until the agent answers. It waits while the socket does not exist,
nothing listens on it, the VMM or the guest hangs up or is silent, or the agent takes
no more connections. It fails at once if another program or another user serves the
socket, or the agent refuses this host. After a second it prints the reason for waiting,
and again when that changes. Exit status:

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
	c, err := w.dialWaiting(context.Background(), url, w.Timeout)
	if err != nil {
		return err
	}
	return c.Close()
}
