package main

import (
	"fmt"

	"github.com/cocoonstack/cocoon-agent/internal/systemd"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

// inherit takes the sockets that the service manager has bound, all or none.
func (b binder) inherit() ([]endpoint, error) {
	sockets, err := systemd.Sockets()
	if err != nil {
		return nil, fmt.Errorf("sockets passed by systemd: %w", err)
	}
	var endpoints []endpoint
	for _, s := range sockets {
		ln, a, err := transport.Inherit(s.FD, b.policy)
		if err != nil {
			closeAll(endpoints)
			return nil, fmt.Errorf("sockets passed by systemd: %s: %w", s, err)
		}
		endpoints = append(endpoints, endpoint{ln, a, true})
	}
	return endpoints, nil
}
