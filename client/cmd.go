package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// DefaultWaitDelay is the [Cmd.WaitDelay] of a Cmd that sets none: longer than
// the agent takes from SIGTERM to SIGKILL.
const DefaultWaitDelay = 10 * time.Second

// A Cmd is a command that is being prepared or run in a guest. [Client.Command]
// makes one. Like an os/exec Cmd it runs once, its fields are set before Start,
// and its methods are not for concurrent use, except Signal, Resize and Kill after Start.
//
// Differences from an os/exec Cmd:
//
//   - The command is looked up when it starts, in the guest: there are no Path,
//     Err or Environ. Env comes on top of the agent's environment.
//   - Every Reader and Writer is copied from and to, an *os.File too. A Reader
//     may have been read further than the command has read its input.
//   - Wait never waits for Stdin. One Read may still be under way when it returns.
//   - The error of a Reader or Writer that fails comes before the exit status:
//     it has ended the command.
//   - Processes that the command leaves behind may hold its output open. It is read
//     until nothing has come for 2 seconds, and then cut. Wait then returns no error
//     for that, but [ProcessState.OutputCut] is true.
//   - When its context ends, the agent sends SIGTERM, and after 5 seconds SIGKILL, to
//     all that the command has started. The end of the context always bounds Wait:
//     see WaitDelay.
//   - There are no Cancel, Process, ExtraFiles and SysProcAttr, but PID, Signal
//     and Kill.
type Cmd struct {
	// Args is the command and its arguments. A command without a slash is
	// looked up in the guest, in the PATH of the command's environment.
	Args []string

	// Env lists KEY=VALUE on top of the agent's environment, or, with ClearEnv,
	// is the whole environment. (In os/exec it is always the whole of it.) The
	// last of equal keys counts.
	Env      []string
	ClearEnv bool

	// Dir is the working directory, absolute. Empty: the user's home, or / if the user
	// has none.
	Dir string

	// User is who the command runs as: "name", "uid", "name:group" or "uid:gid".
	// Empty: the agent's user, which is root as a rule. The command has all groups of
	// the user; an explicit group is its primary one and takes no other away.
	User string

	// Verbatim has Windows guests take Args[1:] as the rest of the command line, with spaces between
	// them and nothing quoted, for programs that split it in ways of their own, such as cmd /c.
	// Otherwise the arguments come as they are to a program that splits its command line as
	// CommandLineToArgvW does. The agent must have the feature "verbatim": a Linux guest has no
	// command lines. Otherwise the error is a [*RemoteError] of kind [Unsupported].
	Verbatim bool

	// TTY gives the command a terminal of its own for its standard streams; nil: no
	// terminal. Stdout gets what the command writes to the terminal; Stderr must be
	// nil, or the same Writer. When the command has read all of Stdin, the end of Stdin
	// is typed into the terminal as ^D. Without a Stdin nothing is ever typed.
	TTY *TTY

	// Timeout is how long the command may run, to the millisecond. The agent
	// keeps it, and ends the whole process tree. 0: no limit.
	Timeout time.Duration

	// Linger bounds how long the output of processes that the command has left behind is
	// read, to the millisecond. Reading also ends after 2 s of silence. The output of the
	// command itself is always read. 0: 10 s. Below 0: to its end, whatever its silences, as
	// ssh does. Unless it is 0 the agent must have the feature "linger". Otherwise the error
	// is a [*RemoteError] of kind [Unsupported].
	Linger time.Duration

	// Keep lets the command live on when the connection ends, its output thrown
	// away and its stdin silent. Otherwise it is ended with all that it started.
	Keep bool

	// Outlive says how the command outlives its connection, and its start a lost answer.
	Outlive Outlive

	// From and Redraw are for a Cmd of [Client.Attach]: the position at which the output
	// begins, and how the screen of a terminal is restored.
	From   Position
	Redraw Redraw

	// Limits bound what the command and everything that it starts may use.
	Limits Limits

	// Stdin is what the command reads; nil is /dev/null. A Reader that fails
	// ends the command, and its error is what Wait returns.
	Stdin io.Reader

	// Stdout and Stderr get what the command writes; nil throws it away in the
	// guest. If both are the same comparable Writer, the command has one pipe
	// for both, order is kept, and one goroutine at a time calls Write. A Writer
	// that fails ends the command, and its error is what Wait returns.
	Stdout io.Writer
	Stderr io.Writer

	// MaxOutput is how many bytes of Stdout and Stderr together the Writers get.
	// One more ends the command, and Wait's error is or wraps an
	// [*OutputLimitError]: a guest may send for ever, and a buffer of this host's
	// would take all of it. 0: no limit, but [DefaultMaxOutput] for Output and
	// CombinedOutput. Below 0: no limit. The pipes of StdoutPipe and StderrPipe
	// are not limited: their readers keep what they want.
	MaxOutput int64

	// WaitDelay bounds how long Wait waits for the agent and the Writers once the
	// context has ended or Kill was called. If the command has ended by itself, it
	// bounds how long Wait waits for the Writers. After that Wait returns an error that
	// wraps [ErrWaitDelay]. 0: [DefaultWaitDelay] in the first case (os/exec waits for
	// ever), and no limit in the second. In the first case it also bounds the pipes,
	// Signal, Resize and Kill.
	WaitDelay time.Duration

	// ProcessState is set by Wait, or Run, once the command has ended and its
	// exit status is known, whatever else Wait's error says. Else it is nil.
	ProcessState *ProcessState

	client *Client
	ctx    context.Context // of CommandContext, as in os/exec

	started  bool
	tty      *wire.TTY            // TTY as it is sent
	call     atomic.Pointer[call] // the exec, over the link that the command runs on; with Resume the latest attach
	asked    *link                // over which the exec was last asked for
	pid      int
	handle   []byte
	agentID  []byte // of the agent that the command runs on
	repeated bool

	// Of Attach, and of a command whose key was known: the offsets of the first bytes, and
	// how many come before on stdout to restore a screen.
	stdoutBegin, stderrBegin, redrawn uint64
	stdoutEnd, stderrEnd              uint64 // of Attach: how much output there was then

	files     *wire.Files // of an FS: what is asked for instead of a command; nil: the command
	attach    *attachment // of Attach; nil: the command is started
	resuming  *resuming   // nil: the command does not resume
	notes     []string
	streams   streams
	pipes     []*outputPipe // of StdoutPipe, StderrPipe, as Stdout and Stderr have them
	stdinPipe *stdinPipe    // likewise
	outputs   []*outputCopy
	allowance allowance
	input     *inputCopy
	stopWatch func() bool // lets ctx go
	ending    chan struct{}
	endOnce   sync.Once // closes ending: the command is being ended
	waited    bool
	waitOver  chan struct{} // closed when Wait is about to return
}

// Command returns a Cmd that runs a command in the guest.
func (c *Client) Command(name string, arg ...string) *Cmd {
	return c.CommandContext(context.Background(), name, arg...)
}

// CommandContext is like Command. If ctx ends before the command does, the agent ends
// the command and everything that it has started: it sends SIGTERM, and SIGKILL after 5
// seconds. The end of ctx also ends a Start that waits. CommandContext panics if ctx is
// nil.
func (c *Client) CommandContext(ctx context.Context, name string, arg ...string) *Cmd {
	if ctx == nil {
		panic("client: nil Context")
	}
	return &Cmd{
		Args: append([]string{name}, arg...), client: c, ctx: ctx,
		ending: make(chan struct{}), waitOver: make(chan struct{}),
	}
}

// String returns the command and its arguments, for people. It quotes nothing: do not
// give it to a shell.
func (c *Cmd) String() string { return strings.Join(c.Args, " ") }

// Run starts the command and waits for it to end. Its errors are those of [Cmd.Start]
// and [Cmd.Wait].
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the command and returns its standard output, also after an error: the
// bytes so far. If Stderr was nil, an [*ExitError] has the command's standard error.
// Output that is longer than MaxOutput is cut there, and the error is an
// [*OutputLimitError]. Output fails if Stdout is set.
func (c *Cmd) Output() ([]byte, error) {
	if c.Stdout != nil {
		return nil, errors.New("client: Stdout already set")
	}
	var stdout bytes.Buffer
	var stderr ends
	c.Stdout = &stdout
	collect := c.Stderr == nil && c.TTY == nil
	if collect {
		c.Stderr = &stderr
	}
	c.allowance.limit = DefaultMaxOutput
	err := c.Run()
	if exit, ok := errors.AsType[*ExitError](err); ok && collect {
		exit.Stderr = stderr.bytes()
	}
	return stdout.Bytes(), err
}

// CombinedOutput runs the command and returns its standard output and standard error,
// in the order of the writes. MaxOutput is as for Output. CombinedOutput fails if
// Stdout or Stderr is set.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	if c.Stdout != nil || c.Stderr != nil {
		return nil, errors.New("client: Stdout or Stderr already set")
	}
	var both bytes.Buffer
	c.Stdout, c.Stderr = &both, &both
	c.allowance.limit = DefaultMaxOutput
	err := c.Run()
	return both.Bytes(), err
}

// end asks the agent to end the command, and does not wait for its answer.
func (c *Cmd) end() {
	c.markEnding()
	call := c.call.Load()
	if c.leaves() {
		c.leave(call)
		return
	}
	call.link.kill(call.id, false)
}

// markEnding says that the command is being ended, once. From then on WaitDelay bounds
// what waits for the guest.
func (c *Cmd) markEnding() {
	c.endOnce.Do(func() {
		close(c.ending)
		by := time.Now().Add(c.waitDelay())
		for _, p := range c.pipes {
			p.endBy(by)
		}
		if c.stdinPipe != nil {
			c.stdinPipe.endBy(by)
		}
	})
}
