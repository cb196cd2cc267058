package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/client"
)

// targetFlags name an agent.
type targetFlags struct {
	Target         string        `placeholder:"URL" env:"COCOON_AGENT_TARGET" help:"Agent to connect to: vsock://CID:PORT, hvsock:///PATH:PORT (Firecracker, Cloud Hypervisor) or unix:///PATH. A unix:// socket must be served by root or the current user, or by UID with unix:///PATH?uid=UID."`
	CID            *word         `name:"cid" placeholder:"N" help:"Vsock CID of the guest: --cid N --port P is short for --target vsock://N:P. Overrides COCOON_AGENT_TARGET."`
	Port           word          `default:"1024" help:"Vsock port of the agent, with --cid."`
	ConnectTimeout time.Duration `default:"10s" help:"Time limit for the connection and the agent's first message."`
	Protocol       string        `default:"auto" enum:"auto,1,2" placeholder:"VERSION" help:"Protocol version: 1, 2 or auto. auto uses 2, and 1 if the agent does not support 2. Default: auto."`
}

func (f *targetFlags) protocol() client.Protocol {
	return map[string]client.Protocol{"1": client.Protocol1, "2": client.Protocol2}[f.Protocol]
}

// url returns the target. --cid is stronger than the environment's target.
func (f *targetFlags) url(k *kong.Context) (string, error) {
	switch {
	case f.ConnectTimeout <= 0:
		return "", misuse("--connect-timeout %v: want more than 0", f.ConnectTimeout)
	case f.CID != nil && given(k, "target"):
		return "", misuse("--cid and --target are mutually exclusive")
	case f.CID == nil && given(k, "port"):
		return "", misuse("--port needs --cid; the port of a target is part of its URL")
	case f.CID != nil:
		return fmt.Sprintf("vsock://%d:%d", *f.CID, f.Port), nil
	case f.Target == "":
		return "", misuse("no agent given: set --target, --cid or COCOON_AGENT_TARGET")
	default:
		if _, err := client.ParseTarget(f.Target); err != nil {
			return "", &usageError{err}
		}
		return f.Target, nil
	}
}

// dial connects, and waits for the agent's greeting: a peer that accepts and says nothing is
// not an agent, or its VM is paused. An agent that takes no more connections is asked again.
// The caller closes the Client.
func (f *targetFlags) dial(ctx context.Context, url string) (*client.Client, error) {
	var last error // that the agent takes no more
	mute := 0      // how often it has closed the connection without a word
	c, err := f.within(ctx, f.ConnectTimeout, url, client.WaitOptions{
		AttemptTimeout: f.ConnectTimeout,
		Retry: func(err error) bool {
			if remote, ok := errors.AsType[*client.RemoteError](err); ok { // an upgrade shuts down for a moment
				return remote.Kind == client.Limit || remote.Kind == client.ShuttingDown
			}
			mute++
			return errors.Is(err, client.ErrLost) && mute <= maxMute
		},
		Waiting: func(err error) { last = err },
	})
	switch {
	case !errors.Is(err, context.DeadlineExceeded):
		return c, err
	case last != nil:
		return nil, last
	default:
		return nil, fmt.Errorf("connect to %s: no answer within %v: the VM is paused, or the server is not cocoon-agent", url, f.ConnectTimeout)
	}
}

// maxMute is how often dial tries an agent again that closes the connection without a word: one that is
// being upgraded may, within 0.3 s.
const maxMute = 6

// dialPooled is dial for a Client that survives lost connections.
func (f *targetFlags) dialPooled(ctx context.Context, url string) (connection, error) {
	conn, err := f.dial(ctx, url)
	if err != nil {
		return connection{}, err
	}
	return f.pooled(ctx, url, conn)
}

// pooled returns a Client of a pool in the place of one that is not.
func (f *targetFlags) pooled(ctx context.Context, url string, conn *client.Client) (connection, error) {
	if err := conn.Close(); err != nil {
		return connection{}, err
	}
	pool := client.NewPool(client.PoolConfig{DialTimeout: f.ConnectTimeout, Protocol: f.protocol()})
	conn, err := pool.Get(ctx, url)
	if err != nil {
		return connection{}, errors.Join(err, pool.Close())
	}
	return connection{conn, pool}, nil
}

// dialWaiting is dial for an agent that may not be there yet. Attempts have --connect-timeout.
// A line on standard error tells the reason for waiting, unless the agent is there soon.
func (f *targetFlags) dialWaiting(ctx context.Context, url string, limit time.Duration) (*client.Client, error) {
	begun, told := time.Now(), ""
	var last error
	c, err := f.within(ctx, limit, url, client.WaitOptions{AttemptTimeout: f.ConnectTimeout, Waiting: func(err error) {
		last = err
		if text := err.Error(); time.Since(begun) >= quietTime && text != told {
			told = text
			fmt.Fprintf(os.Stderr, "cocoon-agent: waiting: %s\n", printable(text))
		}
	}})
	switch {
	case !errors.Is(err, context.DeadlineExceeded):
		return c, err
	case last == nil:
		return nil, fmt.Errorf("connect to %s: no answer within %v", url, limit)
	default:
		return nil, fmt.Errorf("not ready within %v: %w", limit, last)
	}
}

// quietTime is how long an agent is waited for in silence.
const quietTime = time.Second

func (f *targetFlags) within(ctx context.Context, limit time.Duration, url string, o client.WaitOptions) (*client.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	o.Protocol = f.protocol()
	return client.WaitReadyWith(ctx, url, o)
}

// A connection is a Client, and with --resume the pool that it is of.
type connection struct {
	*client.Client
	pool *client.Pool
}

// Close ends the connection.
func (c connection) Close() error {
	if c.pool != nil {
		return c.pool.Close()
	}
	return c.Client.Close()
}
