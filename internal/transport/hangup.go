package transport

import (
	"errors"
	"slices"
)

// HungUp reports whether a Read or Write failed with err because the peer has
// closed the socket.
func HungUp(err error) bool {
	return slices.ContainsFunc(hangUps, func(hangUp error) bool { return errors.Is(err, hangUp) })
}
