//go:build !linux && !windows

package main

import (
	"errors"

	"github.com/alecthomas/kong"
)

// A serveCommand takes the flags that "serve" has on Linux, so that its error is
// about the system and not about a flag.
type serveCommand struct {
	Args []string `arg:"" optional:"" passthrough:"" hidden:"" help:"Flags of serve on Linux."`
}

// Help is what --help says besides the flags.
func (*serveCommand) Help() string { return errNoAgent.Error() + "." }

var errNoAgent = errors.New("serve runs on Linux and Windows only, in the guest; all other commands work here")

// Run returns errNoAgent.
func (*serveCommand) Run() error { return errNoAgent }

// fileOptions returns none: there is nothing to set.
func fileOptions([]string) ([]string, error) { return nil, nil }

// answering returns nil: no agent runs here.
func answering(_, _ []string, _ error) *serveCommand { return nil }

// serveVars are what the help of flags refers to.
func serveVars() kong.Vars { return nil }
