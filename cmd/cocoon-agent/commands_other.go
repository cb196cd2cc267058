//go:build !windows

package main

type systemCommands struct{}

// helpIfAsked does nothing: no helper of the agent is this program.
func helpIfAsked() {}
