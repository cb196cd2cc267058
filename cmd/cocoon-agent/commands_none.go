//go:build !windows && !linux

package main

import "github.com/alecthomas/kong"

// systemCommands are those that only this operating system has.
func systemCommands() []kong.Option { return nil }

// orBack is run: no agent takes the place of another one.
func orBack(run func() int) int { return run() }

// noteState does nothing: likewise.
func noteState() {}

// lineBack returns args: likewise.
func lineBack(args []string) []string { return args }

// noteLine does nothing: no other agent gets it.
func noteLine([]string) {}
