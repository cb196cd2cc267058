//go:build linux

package session

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Verbs are the requests that a [Policy] may deny. Others are always allowed:
// ping, which asks for nothing but an answer, and a refusal is one too.
var Verbs = []wire.Type{
	wire.TypeExec, wire.TypeSignal, wire.TypeResize, wire.TypeKill, wire.TypeInfo, wire.TypeReseed,
	wire.TypeForward,
}

// A Policy says what hosts may ask for. Its zero value allows everything.
type Policy struct {
	Denied []wire.Type

	// User is whom commands run as whose request names nobody. "": the agent's
	// own user. A request may name another.
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

// denied answers a request that the policy denies, and leaves a record of it.
func (c *conn) denied(m wire.Message) (denied bool, err error) {
	verb, id := wire.About(m)
	if id == 0 || !slices.Contains(c.server.Policy.Denied, verb) {
		return false, nil
	}
	record := c.log.Warn().Str("verb", string(verb)).Uint64("id", id)
	switch m := m.(type) {
	case *wire.Exec:
		record = c.server.describe(m)(record)
		c.discard(m.Stdin, m.Stdout, m.Stderr)
	case *wire.Forward:
		record = describeForward(m)(record)
		c.discard(m.Stream)
	}
	record.Msg("request denied")
	return true, c.answer(failure(id, wire.PermissionDenied, fmt.Sprintf("%s: %v", verb, errDenied)))
}
