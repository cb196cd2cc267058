//go:build !windows

package main

import "github.com/alecthomas/kong"

// systemCommands are those that only this operating system has.
func systemCommands() []kong.Option { return nil }

// helpIfAsked does nothing: no helper of the agent is this program.
func helpIfAsked() (status int, helped bool) { return 0, false }
