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
// A [Client] is one connection, meant to be kept. It carries any number of commands at
// the same time, and none delays another. A [Pool] keeps one connection for each of
// many VMs. [Run] and [RunWith] run one command over a connection of the caller.
//
// # What is promised
//
// A command has succeeded only if Run or Wait returns nil. Then the agent has reported
// exit code 0, and the caller's Writers have got every byte of output that the agent
// sent. An end of a stream is never taken for success.
//
// Errors tell what went wrong, and whether the command may have run:
//
//   - [*ExitError]: it ended without success; from Start: its start hung, and it has not run;
//   - [*RemoteError], from Start: the agent refused it, and it has not run;
//   - [*DialError], [ErrPoolClosed], [ErrPoolFull]: there is no connection, and it has not run;
//   - [*MaybeStartedError]: the connection ended before the agent said whether it runs;
//   - [*LostExitError]: the agent has reported its start, and how it ended is not known; it
//     may still run;
//   - [*TruncatedError]: it ended, and part of its output was lost;
//   - an error that wraps [ErrLost], and is not in this list: it has not run;
//   - the error of the caller's own Writer or Reader, or an [*OutputLimitError]: it
//     has run, and was ended, unless the error wraps [ErrDetached];
//   - an error that wraps [ErrDetached]: it goes on, and nobody waits for it here;
//   - [*BehindError]: it goes on, and output that the caller wants is not kept any more;
//   - an error that wraps [ErrWaitDelay]: the command or a Writer did not end in time.
//
// The library never runs a command twice. [Outlive] has the means to ask for a start again.
//
// # A guest is not trusted
//
// The library checks every message of a guest, and makes its texts printable and
// bounded. An exit record that no agent can mean is a [*LostExitError] that wraps
// [ErrProtocol]: the other commands of the connection go on. [Cmd.MaxOutput] bounds
// what a guest can make this program keep; Output and CombinedOutput have a bound by
// default.
//
// A guest that does not answer blocks no caller for ever: every call ends with its
// context. Once a command is being ended, [Cmd.WaitDelay] bounds Wait, the command's
// pipes, and Signal, Resize and Kill, which also end when Wait has returned.
//
// # Another VM at the same address
//
// When a VM is gone, another VM may get its CID or the path of its socket. Tell a
// [Pool] by [Pool.Forget], and let [PoolConfig.Verify] compare each agent's [Hello]
// with what is known of the VM. Even without either, a command that has not started is
// never retried if the agent says that it is another one. Over unix:// the server must
// be root or this program's own user: see [Target.Dial].
//
// # Files
//
// [Client.FS] is the file system of the guest with the rights of a user: an io/fs.FS that also copies
// trees ([FS.Push], [FS.Pull]) and writes files. A copy has succeeded only if its error is nil;
// an [*IncompleteError] names what was not copied.
//
// # Connections into a guest
//
// [Client.DialGuest] makes a net.Conn to a service in the guest, on its loopback
// interface or a Unix socket. A connection that breaks off is never read as an end.
// [Client.ListenGuest] makes a net.Listener in the guest.
//
// # Version 1
//
// A Client finds out whether its agent speaks version 1 of the protocol only, and
// speaks it, too. A Client from [NewClient] cannot, because it has but one connection.
// See [Client.Protocol] for what version 1 lacks. [Run] and [Reseed] speak version 1 to
// every agent, and [RunWith] the version that it is told.
//
// # Clones
//
// VMs that are cloned from a snapshot have the same random state, ids, keys and clock.
// Call [Client.ReseedWith] first, before any command runs.
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
