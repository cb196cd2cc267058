// Package client runs commands inside microVMs, through the cocoon-agent in the
// guest, with an API shaped like os/exec:
//
//	c, err := client.Dial(ctx, "vsock://3:1024")
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	out, err := c.CommandContext(ctx, "uname", "-a").Output()
//
// A [Client] is one connection. It carries any number of commands at the same
// time, none of which delays another, and is meant to be kept. A [Pool] keeps
// one for each of many VMs. [Run] and [RunWith] are one command over a connection that
// the caller has.
//
// # What is promised
//
// A command has succeeded only where Run or Wait returns nil: the agent has
// said that it exited with code 0, and every byte of output that the agent sent
// has been handed to the caller's Writers. An end of a stream is never taken
// for success.
//
// Errors tell what went wrong, and whether the command may have run:
//
//   - [*ExitError]: it ran and ended without success;
//   - [*RemoteError]: the agent refused it, and it has not run;
//   - [*DialError], [ErrPoolClosed], [ErrPoolFull]: there is no connection, and it has not run;
//   - [*MaybeStartedError]: the connection ended before the agent said whether it runs;
//   - [*LostExitError]: it has started, and how it ended is not known;
//   - [*TruncatedError]: it ended, and part of its output was lost;
//   - an error that wraps [ErrLost] and is none of these: it has not run;
//   - the error of the caller's own Writer or Reader, or an [*OutputLimitError]: it
//     has run, and was ended.
//
// The library never runs a command twice.
//
// # A guest is not trusted
//
// What a guest says is checked, and its texts are printable and bounded. An exit
// record that no agent can mean is a [*LostExitError] that wraps [ErrProtocol]: the
// other commands of the connection go on. [Cmd.MaxOutput] bounds what a guest can
// make this program keep; Output and CombinedOutput have a bound by default.
//
// A guest that does not answer keeps nobody. Every call ends with its context. Once a
// command is being ended, [Cmd.WaitDelay] bounds Wait, the command's pipes, and Signal,
// Resize and Kill, which also end when Wait has returned.
//
// # Another VM at the same address
//
// A CID, or the path of a socket, may go to another VM when one is gone. Tell a
// [Pool] by [Pool.Forget], and let [PoolConfig.Verify] compare what each agent says
// of itself ([Hello]) with what is known of the VM. Without either, what has not
// started is never started again over a connection to an agent that says that it is
// another one. Over unix:// the server must be root or this program's own user: see
// [Target.Dial].
//
// # Connections into a guest
//
// [Client.DialGuest] is a net.Conn to a service in the guest, on its loopback
// interface or a Unix socket. What is broken off is never read as an end.
//
// # Version 1
//
// Agents that speak version 1 of the protocol only are found out and spoken to
// in it, except by [NewClient], which has but one connection: see [Client.Protocol]. [Run]
// and [Reseed] speak version 1 to every agent, and [RunWith] the version that it is told.
//
// # Clones
//
// VMs that are cloned from a snapshot have the same random state, ids, keys and
// clock. [Client.Resume] is to be called first, before any command runs.
package client

import (
	"github.com/cocoonstack/cocoon-agent/internal/v1"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// The range of protocol versions that this package speaks.
const (
	ProtocolMin = v1.Version
	ProtocolMax = wire.ProtocolMax
)
