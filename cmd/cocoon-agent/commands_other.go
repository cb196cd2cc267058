//go:build !windows

package main

import "github.com/alecthomas/kong"

// systemCommands are those that only this operating system has.
func systemCommands() []kong.Option { return nil }

// failService does nothing: no service manager waits for this program.
func failService([]string, error) {}

// helpIfAsked does nothing: no helper of the agent is this program.
func helpIfAsked() (status int, helped bool) { return 0, false }
