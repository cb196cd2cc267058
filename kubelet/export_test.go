package kubelet

import (
	"io"

	"k8s.io/utils/exec"
)

// MaxIdentities is how many addresses a Pods remembers.
const MaxIdentities = maxIdentities

// Claims returns what tells a new identities of a Target, and how many it knows.
func Claims(forget func(target string)) (claim func(*Target), known func() int) {
	i := new(identities)
	return func(t *Target) { i.claim(t, i.now(), forget) }, func() int { return len(i.known) }
}

// ShareIdentities has p know what other does of who has an address.
func ShareIdentities(p, other *Pods) { p.identities = other.identities }

// StatusOf is what RunInContainer makes of a Cmd's error, with a caller that has
// a standard error or none, and the status in it, or -1.
func StatusOf(err error, stderr io.WriteCloser) (status int, result error) {
	c := &caller{}
	if stderr != nil {
		c.stderr = &output{to: stderr, failed: func(error) {}}
	}
	result = c.status(err)
	if exit, ok := result.(exec.ExitError); ok && exit.Exited() { //nolint:errorlint // as virtual-kubelet does
		return exit.ExitStatus(), result
	}
	return -1, result
}
