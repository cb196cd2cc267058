package main

import (
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

const rshName = "rsh" // the command that rsync -e calls

type rshCommand struct {
	targetFlags

	User string `short:"l" placeholder:"USER" help:"Run the command as USER: name, uid, name:group or uid:gid."`

	Argv []string `arg:"" name:"name" help:"Name of the VM, as [USER@]NAME, and then the command and its arguments."`
}

// Help is what --help says besides the flags.
func (*rshCommand) Help() string {
	return `Runs a shell command in a guest as rsh(1) and ssh(1) do: the arguments are joined by spaces
and run by the guest's /bin/sh. It is made for rsync -e, which calls it; the guest needs
rsync, and no sshd. NAME finds the agent:

  with --target or --cid    NAME is any word
  otherwise, a number       the vsock CID of the guest; --port is that of the agent
  any other word            the agent of COCOON_AGENT_TARGET

Exit status: that of the command; 255 if the agent or connection failed.

  rsync -a -e 'cocoon-agent rsh' src/ 3:/srv/
  rsync -a -e 'cocoon-agent rsh --target hvsock:///run/vm/v.sock' web@vm:/srv/ copy/`
}

// Run runs the command as "client" does.
func (r *rshCommand) Run(k *kong.Context, line commandLine) error {
	name, command := line.guest[0], line.guest[1:]
	if len(command) == 0 {
		return &clientError{err: misuse("no command after %q", name)}
	}
	if user, host, found := strings.Cut(name, "@"); found {
		name = host
		if r.User == "" {
			r.User = user
		}
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil && r.CID == nil && !given(k, "target") {
		cid := word(n)
		r.CID = &cid
	}
	line.guest = []string{"/bin/sh", "-c", strings.Join(command, " ")}
	c := clientCommand{targetFlags: r.targetFlags, User: r.User, Escape: "none"}
	return c.Run(k, line)
}
