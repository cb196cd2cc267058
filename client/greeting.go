package client

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Ready waits for the agent's greeting until ctx or the connection ends. An agent
// greets only a host that it serves. No call needs Ready before it: requests may go out
// before the greeting. For an agent that speaks version 1, its refusal of version 2
// counts as its greeting. If the caller has chosen version 1, Ready is a Ping. The
// error is ctx's, one that wraps [ErrLost], or a [*RemoteError].
func (c *Client) Ready(ctx context.Context) error {
	return c.withFallback(func(l *link) error { return l.ready(ctx) })
}

// Hello waits for the agent's greeting, as [Client.Ready] does, and returns it. After
// [Client.ReseedWith] or [Client.Reseed] the agent has another AgentID, but only the
// greetings of later connections have it.
func (c *Client) Hello(ctx context.Context) (Hello, error) {
	var h Hello
	err := c.withFallback(func(l *link) error {
		if err := l.ready(ctx); err != nil {
			return err
		}
		h = l.hello.clone()
		return nil
	})
	return h, err
}

// ready waits for the agent's greeting.
func (l *link) ready(ctx context.Context) error {
	select {
	case <-l.greeted:
		return l.pingChosen(ctx)
	default:
	}
	select {
	case <-l.greeted:
		return l.pingChosen(ctx)
	case <-l.done:
		return l.lost()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pingChosen pings an agent whose version the caller has chosen: nothing else
// shows that it is there.
func (l *link) pingChosen(ctx context.Context) error {
	if l.old == nil || !l.old.chosen {
		return nil
	}
	_, err := l.request(ctx, ping)
	return err
}

// greeting returns what a Client says of itself when a connection begins.
func greeting() *wire.Hello {
	return &wire.Hello{
		Min: wire.ProtocolMin, Max: wire.ProtocolMax,
		Version: version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
	}
}

// version is this module's in the program that links it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	const path = "github.com/cocoonstack/cocoon-agent"
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == path {
			return m.Version
		}
	}
	return ""
}
