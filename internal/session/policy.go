//go:build linux

package session

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cocoonstack/cocoon-agent/internal/local"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Verbs are the requests that a [Policy] may deny. Others are always allowed:
// ping, which asks for nothing but an answer, and a refusal is one too.
var Verbs = []wire.Type{
	wire.TypeExec, wire.TypeSignal, wire.TypeResize, wire.TypeKill, wire.TypeInfo, wire.TypeReseed,
	wire.TypeForward, wire.TypeExecs,
}

// A Policy says what hosts may ask for. Its zero value allows everything.
type Policy struct {
	Denied []wire.Type

	// Forward says which addresses a forward may lead to. nil: all of the guest's own.
	Forward local.Rules

	// User is whom commands run as whose request names nobody, and whom forwards
	// are made as. "": the agent's own user. An exec may name another.
	User string
}

var errDenied = errors.New("not allowed by this agent's policy")

// Deny returns the Denied of a Policy in which verbs are denied. An unknown one
// is an error.
func Deny(verbs []string) ([]wire.Type, error) {
	var denied []wire.Type
	for _, v := range verbs {
		if wire.Type(v) == wire.TypePing {
			return nil, errors.New("ping cannot be denied: a refusal answers it as well")
		}
		if err := checkVerb(v); err != nil {
			return nil, err
		}
		denied = append(denied, wire.Type(v))
	}
	return denied, nil
}

// Allow returns the Denied of a Policy in which all but verbs are denied.
func Allow(verbs []string) ([]wire.Type, error) {
	for _, v := range verbs {
		if err := checkVerb(v); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(slices.Clone(Verbs), func(t wire.Type) bool {
		return slices.Contains(verbs, string(t))
	}), nil
}

func checkVerb(verb string) error {
	if slices.Contains(Verbs, wire.Type(verb)) || wire.Type(verb) == wire.TypePing {
		return nil
	}
	var known []string
	for _, t := range append(slices.Clone(Verbs), wire.TypePing) {
		known = append(known, string(t))
	}
	return fmt.Errorf("unknown verb %q: want one of %s", verb, strings.Join(known, ", "))
}

// check returns an error that wraps errDenied if a request is not allowed.
func (p *Policy) check(r request) error {
	verb, _ := wire.About(r.message)
	if slices.Contains(p.Denied, verb) {
		return fmt.Errorf("%s: %w", verb, errDenied)
	}
	if f, ok := r.message.(*wire.Forward); ok && !p.Forward.Allow(r.to) {
		return fmt.Errorf("%s to %s %s: %w", verb, f.Network, clip(f.Address), errDenied)
	}
	return nil
}
