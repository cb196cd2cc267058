// Package random gives the system's random numbers, as crypto/rand does. That brings
// along the generator that FIPS 140 asks for, and its ciphers: with sha256, which has
// them too, 0.16 MiB of the agent's file.
package random

// Read fills b, at most 256 bytes, and never fails: a system without random numbers
// ends the program. They are the kernel's own, drawn at the call, and so those of a
// clone differ from its siblings' from the moment that its kernel has been reseeded.
func Read(b []byte) { read(b) }
