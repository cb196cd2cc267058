//go:build !linux

package main

// serveGuard does nothing: only Linux guests can be quiesced.
func serveGuard() (status int) { return statusUsage }
