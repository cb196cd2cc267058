package session

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cocoonstack/cocoon-agent/internal/local"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Verbs returns the names of what a [Policy] may deny, by package wire's table. The
// rest is always allowed: ping, which asks for nothing but an answer, and a refusal
// is one too.
func Verbs() []string {
	var names []string
	for _, v := range wire.Verbs() {
		if v.Policy != "" && !slices.Contains(names, v.Policy) {
			names = append(names, v.Policy)
		}
	}
	return names
}

// A Policy says what hosts may ask for. Its zero value allows everything but to listen.
type Policy struct {
	Denied []string // of Verbs

	// Forward says which addresses a forward may lead to. nil: all of the guest's own.
	Forward local.Rules

	// Listen says on which addresses a host may listen. nil: on none.
	Listen local.Rules

	// Invalid is what is wrong with the agent's settings. Everything is denied then,
	// and the answers say why. nil: nothing is.
	Invalid error

	// User is the user of forwards, and of execs whose request names nobody. "": the
	// agent's own user. An exec may name another.
	User string
}

var errDenied = errors.New("not allowed by this agent's policy")

// Deny returns the Denied of a Policy in which verbs are denied. An unknown one
// is an error.
func Deny(verbs []string) ([]string, error) {
	for _, v := range verbs {
		if v == string(wire.TypePing) {
			return nil, errors.New("ping cannot be denied")
		}
		if err := checkVerb(v); err != nil {
			return nil, err
		}
	}
	return verbs, nil
}

// Allow returns the Denied of a Policy in which all but verbs are denied.
func Allow(verbs []string) ([]string, error) {
	for _, v := range verbs {
		if err := checkVerb(v); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(Verbs(), func(v string) bool { return slices.Contains(verbs, v) }), nil
}

func checkVerb(verb string) error {
	known := append(Verbs(), string(wire.TypePing))
	if slices.Contains(known, verb) {
		return nil
	}
	return fmt.Errorf("unknown verb %q: want one of %s", verb, strings.Join(known, ", "))
}

// An invalidError is the answer to all requests that a policy can deny, if the agent's
// settings make no sense: what they were to deny is not known.
type invalidError struct{ why error }

func (e invalidError) Error() string { return "the agent's settings are invalid: " + e.why.Error() }

func (e invalidError) Is(target error) bool { return target == errDenied }

// check returns an error that is an errDenied if a request is not allowed.
func (p *Policy) check(r request) error {
	verb, _ := wire.About(r.message)
	if p.Invalid != nil && wire.PolicyOf(verb) != "" {
		return invalidError{p.Invalid}
	}
	if slices.Contains(p.Denied, wire.PolicyOf(verb)) {
		return fmt.Errorf("%s: %w", verb, errDenied)
	}
	if f, ok := r.message.(*wire.Forward); ok && !p.Forward.Allow(r.to) {
		return fmt.Errorf("%s to %s %s: %w", verb, f.Network, clip(f.Address), errDenied)
	}
	if l, ok := r.message.(*wire.Listen); ok && (p.Listen == nil || !p.Listen.Allow(r.to)) {
		return fmt.Errorf("%s at %s %s: %w", verb, l.Network, clip(l.Address), errDenied)
	}
	return nil
}
