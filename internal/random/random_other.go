//go:build !linux

package random

import "crypto/rand"

func read(b []byte) { _, _ = rand.Read(b) } // ends the program rather than fail
