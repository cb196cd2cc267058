package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/client"
)

// given says whether a flag stands on the command line.
func given(k *kong.Context, name string) bool {
	for _, p := range k.Path {
		if p.Flag != nil && p.Flag.Name == name {
			return true
		}
	}
	return false
}

type clientCommand struct {
	targetFlags
	limitFlags
	reportFlags
	sizeFlags

	Env     []string `short:"e" sep:"none" placeholder:"K=V" help:"Set an environment variable of the command. K alone takes the value from this client's environment. Repeatable."`
	EnvFile []string `name:"env-file" sep:"none" placeholder:"FILE" help:"Set the variables that FILE lists, one K=V or K per line; # begins a comment line. - is standard input, and the command's is then empty. --env overrides. Repeatable."`
	Dir     string   `placeholder:"DIR" help:"Working directory of the command. Default: the user's home directory."`
	NoStdin bool     `short:"n" help:"Do not read standard input; the command's standard input is empty."`

	TTY    bool   `name:"tty" short:"t" help:"Run the command in a terminal with the size and the modes of the local one."`
	Stdin  bool   `name:"stdin" short:"i" help:"No effect but with --detach, accepted so that -it works. Standard input is forwarded unless -n is given."`
	Escape string `default:"~" placeholder:"CHAR" help:"Escape character of -t. CHAR and a dot, typed at the start of a line, leave the session. One character, ^X for a control character, or none. Default: ~."`

	User     string         `short:"u" placeholder:"USER" help:"Run the command as USER: name, uid, name:group or uid:gid. The command has all groups of the user. Default: serve's --user, or the agent's user."`
	Verbatim bool           `help:"Windows guests: put ARGs into the command line as they are, unquoted, with spaces between them. For cmd /c, for example."`
	ClearEnv bool           `help:"Start with an empty environment. Add variables with --env."`
	Timeout  time.Duration  `placeholder:"TIME" help:"Terminate the command and its descendants after TIME, such as 30s. The exit status is then 124."`
	Linger   *time.Duration `placeholder:"TIME" help:"After the command has exited, read output that its background processes still write for at most TIME, or until nothing has come for 2s. 0: to its end, as ssh does. Default: 10s."`
	Wait     time.Duration  `placeholder:"TIME" help:"Wait up to TIME for an agent that is not there yet, of a VM that is starting for example. --connect-timeout is then the limit of one attempt. Default: 0, do not wait."`
	Keep     bool           `help:"Keep the command running if this client or its connection ends."`
	Detach   bool           `short:"d" help:"Print the command's handle once it has started, and end: see \"attach\", \"logs\", \"ps\" and \"wait-exec\". Its standard input is empty; with -i it stays open, and with -t it is a terminal."`
	Resume   bool           `help:"Survive lost connections: connect again and go on at the byte at which the output was interrupted. Standard input is not read."`
	Lease    *time.Duration `placeholder:"TIME" help:"With --detach or --resume: the guest ends the command when no client has been connected to it for TIME. 0: never. Default: never, or 10m with --resume."`
	Ring     size           `placeholder:"SIZE" help:"With --detach or --resume: how much of each output the guest keeps, up to 16M. Default: 256K, or 1M with --resume."`

	sizes io.Reader // of --resize-fd; nil: there are none

	Argv []string `arg:"" name:"command" help:"The command and its arguments."`
}

// Help is what --help says besides the flags.
func (*clientCommand) Help() string {
	return `The command reads and writes the standard streams of this client. Flags after its name
are the command's own. Exit status:

  n      the command exited with status n
  128+n  signal n killed the command
  124    --timeout expired
  126    command not executable, or refused to this user or by the policy
  127    command not found
  255    invalid command line, or the agent or connection failed;
         standard error has the reason in one line

SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are forwarded to the command
and its descendants. A second SIGINT within 1 s kills them, a third ends this
client. The client gives up with status 255 if one of these times is exceeded:

  3 s    for the agent to accept the first SIGTERM, SIGHUP or SIGQUIT
  0.8 s  for the agent to accept the next one
  0.8 s  for the command to end after a second SIGTERM
  10 s   for the command to end after --timeout

The agent terminates the command when its client is gone, unless --keep, --detach or
--resume is given.

With -t the command runs in a terminal. The local terminal is in raw mode: every
key goes to the command, including ^C. Type ~. at the start of a line to leave the
session, or ~? to list the escapes.

With an agent that supports only protocol version 1, -t, --user, --dir, --memory,
--pids, --cpu, --clear-env, --keep and signals are not available. Any signal except
SIGUSR1 and SIGUSR2 then terminates the command, and its exit status is unknown.

  cocoon-agent client --cid 3 -- uname -a
  cocoon-agent client --cid 3 -t -- bash
  tar c . | cocoon-agent client --target hvsock:///run/vm/v.sock:1024 -- tar x -C /srv
  cocoon-agent client --cid 3 --memory 256M --pids 100 --cpu 0.5 -- make`
}

// Run runs the command. Its error is a clientError.
func (c *clientCommand) Run(k *kong.Context, line commandLine) error {
	c.Argv = line.guest
	report, err := c.reportFlags.open()
	if err != nil {
		return &clientError{err: err}
	}
	defer report.close()
	url, err := c.check(k)
	if err != nil {
		err = &clientError{err: err}
		report.ended(nil, err)
		return err
	}
	signals := catchSignals()
	defer signal.Stop(signals)
	if c.Resume { // else the command would outlive a reader of our output that has gone
		broken := make(chan os.Signal, 1)
		signal.Notify(broken, syscall.SIGPIPE)
		defer signal.Stop(broken)
	}
	var conn connection
	err = untilSignal(signals, func(ctx context.Context) (err error) {
		conn, err = c.connect(ctx, url)
		return err
	})
	if err != nil {
		err = &clientError{err: err}
		report.ended(nil, err)
		return err
	}
	defer conn.Close()
	state, err := c.exec(signals, conn, report)
	if c.Resume && errors.Is(err, syscall.EPIPE) {
		report.ended(state, &clientError{err: err})
		return &statusError{128 + int(syscall.SIGPIPE)}
	}
	if is[*client.DialError](err) { // of version 1; it names the agent
		url = ""
	}
	if err != nil {
		err = &clientError{url, err}
	}
	report.ended(state, err)
	return err
}

// check checks the command line, reads what it names, and returns the agent's URL.
func (c *clientCommand) check(k *kong.Context) (url string, err error) {
	if url, err = c.url(k); err != nil {
		return "", err
	}
	if _, err := escapeChar(c.Escape); err != nil {
		return "", &usageError{err}
	}
	if c.Timeout < 0 {
		return "", misuse("--timeout %v is negative", c.Timeout)
	}
	if c.Linger != nil && *c.Linger < 0 {
		return "", misuse("--linger %v is negative", *c.Linger)
	}
	if c.Wait < 0 {
		return "", misuse("--wait %v is negative", c.Wait)
	}
	switch {
	case c.Detach && c.Resume:
		return "", misuse("--detach and --resume are mutually exclusive")
	case c.Resume && c.TTY:
		return "", misuse("--resume with -t: a terminal cannot be resumed; use --detach and \"attach\"")
	case c.Ring != 0 && !c.Detach && !c.Resume:
		return "", misuse("--ring needs --detach or --resume")
	case c.Ring > client.MaxRing:
		return "", misuse("--ring %d: want at most %d bytes", c.Ring, client.MaxRing)
	case c.Detach && c.NoStdin && c.Stdin:
		return "", misuse("--detach with both -n and -i")
	case c.Lease != nil && !c.Detach && !c.Resume:
		return "", misuse("--lease needs --detach or --resume")
	case c.Lease != nil && *c.Lease < 0:
		return "", misuse("--lease %v is negative", *c.Lease)
	case c.Detach && c.ResizeFD != nil:
		return "", misuse("--resize-fd with --detach: resize it by \"attach\"")
	}
	if c.sizes, err = c.sizeFlags.open(c.TTY); err != nil {
		return "", err
	}
	c.Env, err = c.environ()
	return url, err
}

func (c *clientCommand) connect(ctx context.Context, url string) (connection, error) {
	dial := c.dial
	if c.Wait > 0 {
		dial = func(ctx context.Context, url string) (*client.Client, error) { return c.dialWaiting(ctx, url, c.Wait) }
	}
	conn, err := dial(ctx, url)
	if err != nil || !c.Resume {
		return connection{Client: conn}, err
	}
	return c.pooled(ctx, url, conn)
}

// lease is the library's: 0 is its own choice.
func (c *clientCommand) lease() time.Duration {
	switch {
	case c.Lease == nil:
		return 0
	case *c.Lease == 0:
		return -1
	default:
		return *c.Lease
	}
}

// linger is the library's: 0 is the agent's own choice.
func (c *clientCommand) linger() time.Duration {
	switch {
	case c.Linger == nil:
		return 0
	case *c.Linger == 0:
		return -1
	default:
		return *c.Linger
	}
}

func (c *clientCommand) exec(signals chan os.Signal, conn connection, report *statusReport) (*client.ProcessState, error) {
	ctx, end := context.WithCancel(context.Background())
	defer end()
	cmd := conn.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Env, cmd.ClearEnv, cmd.Dir, cmd.User = c.Env, c.ClearEnv, c.Dir, c.User
	cmd.Timeout, cmd.Keep, cmd.Limits = c.Timeout, c.Keep, c.limits()
	cmd.Linger, cmd.Verbatim = c.linger(), c.Verbatim
	cmd.Outlive = client.Outlive{Detach: c.Detach, Resume: c.Resume, Ring: int(c.Ring), Lease: c.lease()}
	if c.Detach {
		return nil, c.detach(signals, cmd, end, report, conn.Protocol())
	}
	l := &leaver{conn: conn, cancel: end, left: make(chan struct{})}
	cmd.Stdin, cmd.Stdout = c.stdin(), &consumer{to: os.Stdout, busy: &l.busy}
	if c.Timeout > 0 {
		l.limit(c.Timeout)
		defer l.timer.Stop()
	}
	started := func(cmd *client.Cmd) { report.started(cmd, conn.Protocol()) }
	var err error
	if c.TTY {
		err = c.interact(signals, conn, cmd, l.end, started)
	} else {
		cmd.Stderr = &consumer{to: os.Stderr, busy: &l.busy}
		err = runRelayed(signals, cmd, l, started)
	}
	if reason := l.reason.Load(); reason != nil && (errors.Is(err, client.ErrClosed) || errors.Is(err, *reason)) {
		return nil, *reason // Wait may be under way: nobody looks at what it sets
	}
	if cmd.ProcessState != nil && cmd.ProcessState.OutputCut() {
		fmt.Fprintln(os.Stderr, "cocoon-agent: output truncated: background processes of the command still had it open")
	}
	if cmd.ProcessState != nil && cmd.ProcessState.OOMKilled() {
		fmt.Fprintln(os.Stderr, "cocoon-agent: command killed: memory limit exceeded (out of memory)")
	}
	return cmd.ProcessState, err
}

// detach starts cmd, prints its handle, and leaves it. A signal that comes before ends the
// start.
func (c *clientCommand) detach(signals chan os.Signal, cmd *client.Cmd, end func(), report *statusReport, p client.Protocol) error {
	if c.TTY {
		cmd.TTY = openLocalTerminal().tty()
		c.set(cmd.TTY)
	}
	if c.Stdin && !c.TTY {
		if _, err := cmd.StdinPipe(); err != nil { // which ends with the connection, and the input stays open
			return err
		}
	}
	r := relaySignals(signals, cmd, end, func(cmd *client.Cmd) { report.started(cmd, p) }, true)
	defer r.close()
	go r.run() // stopped by close
	if err := r.start(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(os.Stdout, "%x\n", cmd.Handle())
	return err
}

// runRelayed runs cmd, and passes signals on to it.
func runRelayed(signals chan os.Signal, cmd *client.Cmd, l *leaver, started func(*client.Cmd)) error {
	r := relaySignals(signals, cmd, l.end, started, false)
	r.leave = func() { l.leave(errNotEnded) }
	defer r.close()
	go r.run()
	if err := r.start(); err != nil {
		return err
	}
	result := make(chan error, 1)
	go func() { result <- cmd.Wait() }() // ends with the program if nobody reads our output
	select {
	case err := <-result:
		return err
	case <-l.left:
		return *l.reason.Load()
	}
}

// errNotEnded says that the program ends before the command has.
var errNotEnded = errors.New("the agent did not terminate the command")

// errNotRead is for a command that may have ended long ago: our output holds us up.
var errNotRead = errors.New("stopped with output that nobody has read: how the command ended is not known")

// timeoutSlack is how long after --timeout the agent has to report the command's end:
// it needs 5 seconds from SIGTERM to SIGKILL, and 5 more to give that up.
const timeoutSlack = 10 * time.Second

// A leaver ends a command, or the program's connection to it.
type leaver struct {
	conn   io.Closer
	cancel context.CancelFunc // has the agent end the command
	timer  *time.Timer        // of limit; nil: there is none
	busy   atomic.Int32       // calls of Write to our output under way

	asked  atomic.Bool
	reason atomic.Pointer[error] // why leave was called first; nil: it was not
	left   chan struct{}         // closed when the connection has been closed for it
}

// end has the agent end the command. The second call leaves it.
func (l *leaver) end() {
	if l.asked.Swap(true) {
		l.leave(errNotEnded)
		return
	}
	l.cancel()
}

// leave closes the connection: the agent need not answer.
func (l *leaver) leave(reason error) {
	if l.busy.Load() > 0 {
		reason = errNotRead
	}
	if l.reason.CompareAndSwap(nil, &reason) {
		_ = l.conn.Close()
		close(l.left)
	}
}

// limit leaves a command that has not ended some time after its timeout, unless it is
// our output that holds it up.
func (l *leaver) limit(timeout time.Duration) {
	const again = time.Second
	var look func()
	look = func() {
		if l.busy.Load() > 0 {
			time.AfterFunc(again, look)
			return
		}
		l.leave(fmt.Errorf("%w: --timeout %v expired", errNotEnded, timeout))
	}
	l.timer = time.AfterFunc(timeout+min(timeoutSlack, math.MaxInt64-timeout), look)
}

// A consumer is our output.
type consumer struct {
	to   io.Writer
	busy *atomic.Int32
}

func (c *consumer) Write(p []byte) (int, error) {
	c.busy.Add(1)
	defer c.busy.Add(-1)
	return c.to.Write(p)
}

// stdin is nil if there is nothing to read from: the descriptor is closed or, as nohup(1)
// has it, open for writing only.
func (c *clientCommand) stdin() io.Reader {
	if c.NoStdin || c.Resume || slices.Contains(c.EnvFile, stdinName) || !canReadStdin() {
		return nil
	}
	return os.Stdin
}
