// Command cocoon-agent runs commands in a microVM from its host, over
// virtio-vsock. "serve" is the agent in the guest; all other commands run on the
// host.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/internal/files"
)

// filesWorker is the first argument of the process that the agent starts for a request about files.
const filesWorker = "files-worker"

// freezeGuard is that of the process that ends a quiesce.
const freezeGuard = "freeze-guard"

// serveGrammar is the command line of the agent. The other commands' would be most of the garbage
// of its start.
type serveGrammar struct {
	Serve serveCommand `cmd:"" help:"Run the agent, in the guest."`
}

// grammar is the command line.
type grammar struct {
	serveGrammar
	Client  clientCommand   `cmd:"" aliases:"exec" help:"Run a command in a guest."`
	Wait    waitCommand     `cmd:"" help:"Wait until an agent is ready."`
	Ping    pingCommand     `cmd:"" help:"Measure the round-trip time to an agent."`
	CP      cpCommand       `cmd:"" name:"cp" help:"Copy files into a guest or out of it."`
	Info    infoCommand     `cmd:"" help:"Print information about an agent and its guest."`
	PS      psCommand       `cmd:"" name:"ps" aliases:"execs" help:"List the commands in a guest."`
	Forward forwardCommand  `cmd:"" help:"Forward ports and Unix sockets of this host into a guest."`
	Proxy   proxyCommand    `cmd:"" help:"Connect standard input and output to a service in a guest."`
	Rsh     rshCommand      `cmd:"" help:"Run a shell command in a guest, for rsync -e."`
	Attach  attachCommand   `cmd:"" help:"Connect to a command that was started by \"client --detach\"."`
	Logs    logsCommand     `cmd:"" help:"Print the output of a command that was started by \"client --detach\"."`
	WaitX   waitExecCommand `cmd:"" name:"wait-exec" help:"Wait until a command that was started by \"client --detach\" has ended."`
	Kill    killCommand     `cmd:"" help:"Terminate or signal commands in a guest."`
	Release releaseCommand  `cmd:"" help:"Remove the records of commands that have ended from a guest."`
	Reseed  reseedCommand   `cmd:"" help:"Reseed random numbers and change identity, after a snapshot restore."`
	Quiesce quiesceCommand  `cmd:"" help:"Make a guest hold still for a snapshot."`
	Thaw    thawCommand     `cmd:"" help:"Let a guest go on after \"quiesce\"."`
	Version versionCommand  `cmd:"" help:"Print the version, revision and protocol versions."`
}

const description = `Run commands in a microVM from its host, over virtio-vsock.

"serve" is the agent; it runs in the guest, and so do the commands that manage it.
All other commands run on the host. "client" runs one command in the guest, with
the standard streams and the exit status of that command. Run "reseed" first in a VM
that was cloned or restored from a snapshot.`

func main() {
	noteState()
	if status, helped := helpIfAsked(); helped {
		os.Exit(status)
	}
	if len(os.Args) > 1 && os.Args[1] == filesWorker {
		os.Exit(files.Serve(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	if len(os.Args) > 1 && os.Args[1] == freezeGuard {
		os.Exit(serveGuard())
	}
	if os.Getpid() == 1 {
		os.Args = append(os.Args[:1:1], argumentsOfProcess1(os.Args[1:])...)
	}
	os.Exit(orBack(func() int { return run(lineBack(os.Args[1:]), os.Stdout, os.Stderr) }))
}

// run is main, with everything that ends in an exit status.
func run(args []string, stdout, stderr io.Writer) (status int) {
	parser, err := newParserFor(args, stdout, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "cocoon-agent:", err)
		return statusUsage
	}
	defer func() {
		switch p := recover().(type) {
		case nil:
		case helpShown:
			status = p.code
		default:
			panic(p)
		}
	}()
	settings, err := fileOptions(args)
	var line commandLine
	if err == nil {
		line, err = readLine(parser.Model.Node, slices.Concat(args[:min(1, len(args))], settings, args[min(1, len(args)):]))
	}
	if err == nil {
		err = checkValues(line.words)
	}
	var ctx *kong.Context
	if err == nil {
		ctx, err = parser.Parse(line.words)
	}
	parsed := err == nil
	if parsed {
		ctx.Bind(line)
		noteLine(line.words)
		err = ctx.Run()
	}
	if s := answering(args, settings, err); s != nil {
		parsed, err = true, s.Run()
	}
	if err == nil {
		return 0
	}
	if !parsed {
		failService(args, err)
		fmt.Fprintf(stderr, "cocoon-agent: %s (see %s --help)\n", printable(err.Error()), usageOf(err))
		return usageStatus(err)
	}
	status, text := statusOf(err)
	if text != "" {
		printWithin(stderr, "cocoon-agent: "+printable(text), args[0] == serveName)
	}
	return status
}

// newParserFor returns newParser's parser, or one that reads no more than these arguments.
func newParserFor(args []string, stdout, stderr io.Writer) (*kong.Kong, error) {
	if len(args) > 0 && args[0] == serveName {
		return newParserOf(new(serveGrammar), stdout, stderr)
	}
	return newParser(stdout, stderr)
}

// newParser returns the parser of the command line. It panics with [helpShown] after
// --help.
func newParser(stdout, stderr io.Writer) (*kong.Kong, error) {
	return newParserOf(new(grammar), stdout, stderr)
}

func newParserOf(g any, stdout, stderr io.Writer) (*kong.Kong, error) {
	return kong.New(g, append(systemCommands(),
		kong.Name("cocoon-agent"),
		kong.Description(description),
		kong.Writers(stdout, stderr),
		serveVars(),
		kong.KindMapper(reflect.String, kong.MapperFunc(asGiven)),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(asDuration)),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Help(printHelp),
		kong.Exit(func(code int) { panic(helpShown{code}) }),
	)...)
}

// printHelp is kong's, with a usage that says where flags end.
func printHelp(o kong.HelpOptions, ctx *kong.Context) error {
	if node := ctx.Selected(); node != nil {
		fmt.Fprintf(ctx.Stdout, "Usage: %s %s\n", ctx.Model.Name, usage(node))
		o.NoAppSummary = true
	}
	return kong.DefaultHelpPrinter(o, ctx)
}

// usage is kong's summary of a command. Flags come first if what follows them is for the guest.
func usage(node *kong.Node) string {
	const flags = " [flags]"
	text, path := node.Summary(), node.Path()
	if args, ok := strings.CutSuffix(strings.TrimPrefix(text, path), flags); ok && runsInGuest(node) {
		return path + flags + args
	}
	return text
}

// lastRecordTime is how long the last records of the log have when the agent ends.
const lastRecordTime = time.Second

// printWithin prints a line. If it is the agent's last one, nobody may be reading
// its log, and the agent must end.
func printWithin(w io.Writer, line string, last bool) {
	if !last {
		fmt.Fprintln(w, line)
		return
	}
	printed := make(chan struct{})
	go func() { // ends with the program, if nobody reads the line
		fmt.Fprintln(w, line)
		close(printed)
	}()
	select {
	case <-printed:
	case <-time.After(lastRecordTime):
	}
}

// helpShown is how kong says, after --help, that the program is to exit.
type helpShown struct{ code int }

// usageOf names the command whose help tells what went wrong.
func usageOf(err error) string {
	if name := commandOf(err); name != "" {
		return "cocoon-agent " + name
	}
	return "cocoon-agent"
}

// commandOf returns the command that a command line names, or "".
func commandOf(err error) string {
	if line, ok := errors.AsType[*lineError](err); ok {
		return line.command
	}
	if parse, ok := errors.AsType[*kong.ParseError](err); ok && parse.Context != nil {
		if c := parse.Context.Selected(); c != nil {
			return c.Name
		}
	}
	return ""
}
