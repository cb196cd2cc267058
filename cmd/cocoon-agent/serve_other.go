//go:build !linux

package main

import "errors"

// A serveCommand takes whatever "serve" takes on Linux, and says what is wrong.
type serveCommand struct {
	Args []string `arg:"" optional:"" passthrough:"" hidden:"" help:"What serve takes on Linux."`
}

// Help is what --help says besides the flags.
func (*serveCommand) Help() string { return errNoAgent.Error() + "." }

var errNoAgent = errors.New("serve runs on Linux only, in the guest: here are the commands for its host")

// Run returns an error: there is no agent for this system.
func (*serveCommand) Run() error { return errNoAgent }
