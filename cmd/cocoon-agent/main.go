// Command cocoon-agent runs commands inside a microVM for its host, over
// virtio-vsock: "serve" is the daemon in the guest, the other commands are for
// its host.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/alecthomas/kong"
)

// grammar is the command line.
type grammar struct {
	Serve   serveCommand   `cmd:"" help:"Run the agent: serve commands to the host."`
	Client  clientCommand  `cmd:"" help:"Run a command in a guest."`
	Ping    pingCommand    `cmd:"" help:"Measure round trips to an agent."`
	Info    infoCommand    `cmd:"" help:"Print what an agent and its guest are."`
	Execs   execsCommand   `cmd:"" help:"List the commands that run in a guest."`
	Kill    killCommand    `cmd:"" help:"End commands that run in a guest."`
	Reseed  reseedCommand  `cmd:"" help:"After a snapshot: make a clone a machine of its own."`
	Version versionCommand `cmd:"" help:"Print version, revision and protocol range."`
}

const description = `Run commands inside a microVM from its host, over virtio-vsock.

"serve" is the daemon in the guest. "client" runs one command there, with its
standard streams and exit status those of the command. "ping" and "info" say
whether an agent is there, and what it is. "reseed" comes first after a VM has been
restored from a snapshot.`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main, with everything that ends in an exit status.
func run(args []string, stdout, stderr io.Writer) (status int) {
	parser, err := kong.New(&grammar{},
		kong.Name("cocoon-agent"),
		kong.Description(description),
		kong.Writers(stdout, stderr),
		serveVars(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Exit(func(code int) { panic(helpShown{code}) }),
	)
	if err != nil {
		fmt.Fprintln(stderr, "cocoon-agent:", err)
		return statusUsage
	}
	defer func() {
		if shown, ok := recover().(helpShown); ok {
			status = shown.code
		}
	}()
	ctx, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "cocoon-agent: %v (see %s --help)\n", err, usageOf(err))
		return usageStatus(args)
	}
	if err := ctx.Run(); err != nil {
		status, line := statusOf(err)
		if line != "" {
			printWithin(stderr, "cocoon-agent: "+printable(line), ctx.Command() == "serve")
		}
		return status
	}
	return 0
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
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil {
		if c := parse.Context.Selected(); c != nil {
			return "cocoon-agent " + c.Name
		}
	}
	return "cocoon-agent"
}
