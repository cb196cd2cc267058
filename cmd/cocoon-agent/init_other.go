//go:build !linux

package main

// argumentsOfProcess1 are args: process 1 is another program.
func argumentsOfProcess1(args []string) []string { return args }
