//go:build !windows

package main

// failService does nothing: no service manager waits for this program.
func failService([]string, error) {}

// helpIfAsked does nothing: no helper of the agent is this program.
func helpIfAsked() (status int, helped bool) { return 0, false }
