package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Sizes of what a guest keeps of a command, in bytes.
const (
	DefaultRing       = wire.DefaultRing // with Detach
	DefaultResumeRing = 1 << 20          // with Resume
	MaxRing           = wire.MaxRing
	MaxKey            = wire.MaxKey
)

// Outlive says how a command outlives its connection: see [Cmd.Outlive]. The zero value
// keeps nothing. The agent must have the features "keys" and "detach"; otherwise Start
// returns a [*RemoteError] of kind [Unsupported], and nothing has run.
type Outlive struct {
	// Key makes the start happen at most once: up to [MaxKey] bytes that the caller
	// chooses. An exec with a key that the agent knows is answered as the first one
	// was, so that Start may be tried again after a [*MaybeStartedError]. A Client of
	// a Pool does that itself. An agent that was restarted or reseeded, and a clone,
	// answer NotFound. The key is known until the command has ended and Wait has
	// returned.
	Key string

	// Detach has the command go on when the connection ends, or the context, or a
	// Writer fails. The guest keeps the last Ring bytes of each output, and how the
	// command ended, for [Client.Attach], until [Client.ReleaseExec] or the agent's
	// limits do away with them. If the command has not ended then Wait returns an
	// error that wraps [ErrDetached]. Kill still ends it.
	Detach bool

	// Resume has the output, and Wait, survive lost connections: a Client of a Pool
	// connects again, for as long as the context lasts, and goes on at the byte at
	// which the output was interrupted. The guest keeps Ring bytes of each output that
	// have not arrived, and has a command with more to say wait. So each byte arrives
	// once, in order. The end of the context ends the command. Stdin, TTY and the pipes
	// of StdoutPipe and StderrPipe must not be set: input cannot be resumed. Without a
	// Pool, Resume is of no use.
	Resume bool

	// Lease is how long the command goes on while no host is connected to it. Then the agent
	// ends it, as by its Timeout, with the reason "killed". The guest's time counts: a VM
	// that is paused or hibernated has none. 0: for ever with Detach, and 10 minutes with
	// Resume, in case this program does not come back. Below 0: for ever.
	Lease time.Duration

	// Ring is how many bytes of each output the guest keeps, rounded up to a power of
	// two of 4 KiB or more, at most [MaxRing]. 0: [DefaultRing], or
	// [DefaultResumeRing] with Resume.
	Ring int
}

// keeping returns what o asks of the agent that has the id.
func (o *Outlive) keeping(agentID []byte) (k wire.Keeping) {
	if o.Key != "" {
		k.Key, k.AgentID = []byte(o.Key), agentID
	}
	if o.Detach || o.Resume {
		k.Detach, k.Ring = true, uint32(o.Ring)
	}
	if o.Resume {
		k.Ring, k.RingFull = uint32(o.ring()), wire.RingBlock
	}
	k.LeaseMS = milliseconds(o.lease())
	return k
}

// DefaultLease is the Lease of a command with Resume.
const DefaultLease = 10 * time.Minute

// lease returns for how long the command goes on without a host; 0: for ever.
func (o *Outlive) lease() time.Duration {
	if o.Lease == 0 && o.Resume && !o.Detach {
		return DefaultLease
	}
	return max(o.Lease, 0)
}

// ring returns the size of the rings in bytes.
func (o *Outlive) ring() int {
	switch {
	case o.Ring != 0:
		return o.Ring
	case o.Resume:
		return DefaultResumeRing
	default:
		return DefaultRing
	}
}

// features returns those that the agent must have.
func (o *Outlive) features() []string {
	var all []string
	if o.Key != "" {
		all = append(all, wire.FeatureKeys)
	}
	if o.Detach || o.Resume {
		all = append(all, wire.FeatureDetach)
	}
	return all
}

// checkOutlive returns why the command cannot outlive its connection as it is to.
func (c *Cmd) checkOutlive() error {
	o := &c.Outlive
	switch {
	case len(o.Key) > MaxKey:
		return fmt.Errorf("client: a key of %d bytes: want at most %d", len(o.Key), MaxKey)
	case o.Ring < 0 || o.Ring > MaxRing:
		return fmt.Errorf("client: a ring of %d bytes: want 0 to %d", o.Ring, MaxRing)
	case o.Ring != 0 && !o.Detach && !o.Resume:
		return errors.New("client: Ring without Detach or Resume")
	case c.attach != nil && (o.Key != "" || o.Detach || o.Ring != 0):
		return errors.New("client: Attach with Key, Detach or Ring: those are for the start of a command")
	case o.Lease != 0 && !o.Detach && !o.Resume:
		return errors.New("client: Lease without Detach or Resume")
	case !o.Resume:
		return nil
	case c.Stdin != nil:
		return errors.New("client: Resume with Stdin: input cannot be resumed")
	case c.TTY != nil:
		return errors.New("client: Resume with TTY: the screen of a terminal cannot be resumed; see Attach")
	case len(c.pipes) > 0:
		return errors.New("client: Resume with StdoutPipe or StderrPipe: set Stdout or Stderr to a Writer")
	}
	return nil
}

// ErrDetached says that the command goes on, and that nobody waits for it here.
var ErrDetached = errors.New("detached from the command, which goes on")

// A BehindError says that the guest does not keep output from the offset that a caller
// of [Client.Attach] wants, or has reached: it reads more slowly than the command
// writes. The command goes on.
type BehindError struct {
	Stream string // "stdout" or "stderr"

	// Offsets, in bytes from the beginning of the output: the one that was wanted, the
	// oldest one that is kept, and the end of the output so far.
	Want, Oldest, Newest uint64
}

func (e *BehindError) Error() string {
	if e.Want > e.Newest {
		return fmt.Sprintf("%s has no byte %d: it ends at %d", e.Stream, e.Want, e.Newest)
	}
	return fmt.Sprintf("bytes %d to %d of %s are not kept any more: the oldest is %d", e.Want, e.Oldest, e.Stream, e.Oldest)
}

func behindError(b *wire.Behind) *BehindError {
	e := &BehindError{Stream: stdoutName, Want: b.Want, Oldest: b.Oldest, Newest: b.Newest}
	if b.Stderr {
		e.Stream = stderrName
	}
	return e
}

// A Position says where the output of [Client.Attach] begins. The zero value is its
// beginning, which a full ring no longer has.
type Position struct {
	Stdout, Stderr uint64 // offsets in bytes

	Oldest bool // the oldest output that is kept, instead of the offsets
	Now    bool // only what the command writes from now on
}

func (p Position) from() wire.From {
	switch {
	case p.Oldest:
		return wire.FromOldest
	case p.Now:
		return wire.FromNow
	default:
		return wire.FromOffset
	}
}

// A Redraw says how the screen of a terminal is restored by [Client.Attach].
type Redraw string

// The ways to restore a screen.
const (
	RedrawNone   Redraw = Redraw(wire.RedrawNone)   // not at all: output from the Position on
	RedrawAuto   Redraw = Redraw(wire.RedrawAuto)   // RedrawWinch for full-screen programs, else RedrawReplay
	RedrawReplay Redraw = Redraw(wire.RedrawReplay) // the modes, and the last output from the beginning of a line
	RedrawWinch  Redraw = Redraw(wire.RedrawWinch)  // the modes, and two window sizes, so that the program draws
)

// An attachment is what a Cmd of [Client.Attach] asks for.
type attachment struct{ handle []byte }

// Attach returns a Cmd for a command that was started with Detach, by this or another
// client of the same class, and that handle names. Start attaches to it: it does not
// start it again. Set Stdin, Stdout, Stderr or the pipes, From, Redraw, Outlive.Resume and
// WaitDelay before; the other fields must be empty. Wait returns when the command has ended,
// with its exit status, which a command that ended before Start also has.
//
// The end of ctx, and a Writer that fails, end the attachment and not the command: Wait's
// error then wraps [ErrDetached]. Signal, Resize and Kill are about the command. If the
// guest does not keep the output that is wanted, the error of Start or Wait is a
// [*BehindError]. Start's is a [*RemoteError] of kind [NotFound] if the agent keeps no such
// command, and of kind [BadRequest] if its stdin has ended or was never there. One client at a time
// writes stdin: a new one takes the place of the one before.
//
// Any number of clients may be attached at the same time, each at its own pace. If Stdout and
// Stderr are equal, one goroutine at a time calls Write; the order of the two outputs is lost.
func (c *Client) Attach(ctx context.Context, handle []byte) *Cmd {
	cmd := c.CommandContext(ctx, "")
	cmd.Args, cmd.attach = nil, &attachment{bytes.Clone(handle)}
	return cmd
}

// checkAttach returns why the Cmd cannot attach.
func (c *Cmd) checkAttach() error {
	_, pipe := c.Stdout.(pipeOutput)
	switch {
	case len(c.attach.handle) != handleSize:
		return fmt.Errorf("client: a handle of %d bytes: want %d", len(c.attach.handle), handleSize)
	case len(c.Args) > 0 || len(c.Env) > 0 || c.ClearEnv || c.Dir != "" || c.User != "" || c.TTY != nil ||
		c.Timeout != 0 || c.Linger != 0 || c.Limits != (Limits{}) || c.Keep || c.Verbatim:
		return errors.New("client: Attach with fields that are for the start of a command")
	case pipe && sameWriter(c.Stdout, c.Stderr):
		return errors.New("client: Attach with one pipe for both outputs, which come on two streams")
	case c.From.Oldest && c.From.Now:
		return errors.New("client: From has both Oldest and Now")
	}
	return nil
}

// attachMessage asks for the output from p on.
func (c *Cmd) attachMessage(id uint64, handle, agentID []byte, p Position, how Redraw) *wire.Attach {
	return &wire.Attach{
		Head: wire.Head{ID: id}, Handle: handle, AgentID: agentID,
		Stdin: c.streams.stdin.id(), Stdout: c.streams.stdout.id(), Stderr: c.streams.stderr.id(),
		From: p.from(), StdoutOffset: p.Stdout, StderrOffset: p.Stderr, Redraw: wire.Redraw(how),
	}
}

// ReleaseExec does away with the output and the record of a detached command that has
// ended. The error is a [*RemoteError] of kind [NotFound] if the agent keeps no such command,
// and of kind [BadRequest] if it still runs.
func (c *Client) ReleaseExec(ctx context.Context, handle []byte) error {
	if len(handle) != handleSize {
		return fmt.Errorf("client: a handle of %d bytes: want %d", len(handle), handleSize)
	}
	if err := c.needs(ctx, wire.FeatureDetach); err != nil {
		return err
	}
	_, err := c.request(ctx, func(h wire.Head) wire.Message { return &wire.Release{Head: h, Handle: handle} })
	return err
}

// begin returns the offset of the first byte of an output.
func (c *Cmd) begin(name string) uint64 {
	if name == stderrName {
		return c.stderrBegin
	}
	return c.stdoutBegin
}

// FirstOffsets returns, after Start, the offsets of the first bytes of each output that the
// Writers get.
func (c *Cmd) FirstOffsets() (stdout, stderr uint64) { return c.stdoutBegin, c.stderrBegin }

// Offsets returns how much of each output the Writers have: the offsets at which another
// Attach would go on. It is safe to call at any time after Start.
func (c *Cmd) Offsets() (stdout, stderr uint64) {
	for _, o := range c.outputs {
		if o.name == stdoutName {
			stdout = o.offset()
		} else {
			stderr = o.offset()
		}
	}
	return stdout, stderr
}

// Repeated reports, after Start, whether the agent knew the command's Key: an earlier
// request had started the command.
func (c *Cmd) Repeated() bool { return c.repeated }

// leaves reports whether the end of the context leaves the command alone.
func (c *Cmd) leaves() bool { return c.Outlive.Detach || c.attach != nil }

// leave ends the attachment, and does not wait for the answer.
func (c *Cmd) leave(call *call) {
	for _, s := range call.streams {
		s.Reset() // the command must not take this for the end of its input
	}
	call.link.leave(call.id)
}

// owns reports whether nobody else needs the command's record.
func (c *Cmd) owns() bool { return !c.leaves() && (c.Outlive.Key != "" || c.Outlive.Resume) }

// releaseSoon gives up the record of a command that has ended. It waits until that is on its
// way, since the program may be about to end, but not for a VM that is paused.
func (c *Cmd) releaseSoon(l *link) {
	sent := make(chan struct{})
	go func() { // ends with the write, or the connection
		defer close(sent)
		l.tell(func(h wire.Head) wire.Message { return &wire.Release{Head: h, Handle: c.handle} })
	}()
	select {
	case <-sent:
	case <-time.After(lastWrite):
	}
}
