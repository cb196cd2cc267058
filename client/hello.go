package client

import (
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A Hello is an agent's description of itself when a connection begins. The guest sends
// it, and a hostile guest may send anything. All texts are printable, and short.
//
// The Hello of an agent that speaks version 1 has Protocol 1 and nothing else: such an
// agent does not describe itself.
type Hello struct {
	Protocol Protocol `json:"protocol"` // that is spoken on this connection
	Version  string   `json:"version"`  // of the agent
	OS       string   `json:"os"`       // as GOOS has it
	Arch     string   `json:"arch"`     // as GOARCH has it

	// BootID is the guest kernel's: another one after each boot. A clone has its
	// original's.
	BootID string `json:"boot_id"`

	// AgentID is 32 hexadecimal digits, or empty for an agent that has no id yet.
	// It is another one after each start of the agent and each ReseedWith or Reseed
	// that has succeeded.
	AgentID string `json:"agent_id"`

	// Resumes is how many times a ReseedWith or Reseed has succeeded since the agent
	// started. A clone begins with its original's.
	Resumes uint64 `json:"resumes"`

	Features []string `json:"features,omitempty"` // what the agent can do beyond the base protocol
}

// Limits of a Hello: the rest is cut.
const (
	maxHelloText = 128 // bytes of each text
	maxFeatures  = 64
)

// agentIDSize is the length of an agent_id, in bytes.
const agentIDSize = 16

// readHello returns what m says. The error wraps ErrProtocol or ErrNotSpoken.
func readHello(m *wire.Hello) (Hello, error) {
	if m.Max < wire.ProtocolMin || m.Min > wire.ProtocolMax {
		return Hello{}, fmt.Errorf("%w: the agent speaks protocol %d to %d, this client %d to %d",
			ErrNotSpoken, m.Min, m.Max, wire.ProtocolMin, wire.ProtocolMax)
	}
	if n := len(m.AgentID); n != 0 && n != agentIDSize {
		return Hello{}, fmt.Errorf("%w: an agent_id of %d bytes: want %d", ErrProtocol, n, agentIDSize)
	}
	h := Hello{
		Protocol: Protocol2,
		Version:  printable(m.Version, maxHelloText),
		OS:       printable(m.OS, maxHelloText),
		Arch:     printable(m.Arch, maxHelloText),
		BootID:   printable(m.BootID, maxHelloText),
		AgentID:  hex.EncodeToString(m.AgentID),
		Resumes:  m.Resumes,
	}
	for _, feature := range m.Features[:min(len(m.Features), maxFeatures)] {
		h.Features = append(h.Features, printable(feature, maxHelloText))
	}
	return h, nil
}

func (h Hello) clone() Hello {
	h.Features = slices.Clone(h.Features)
	return h
}

// has says whether the agent has named a feature.
func (h Hello) has(feature string) bool { return slices.Contains(h.Features, feature) }

// checkSame returns an error that wraps ErrAnotherAgent if h is not what the
// agent at target said that was there before.
func (h Hello) checkSame(before Hello, target string) error {
	switch {
	case before.Protocol == Protocol1: // it has not said who it is
		return nil
	case h.Protocol == Protocol1:
		return fmt.Errorf("%w at %s: with protocol version 1 its identity is unknown", ErrAnotherAgent, target)
	case h.BootID != before.BootID:
		return fmt.Errorf("%w at %s: boot id %s, want %s", ErrAnotherAgent, target, named(h.BootID), named(before.BootID))
	case h.AgentID != before.AgentID:
		return fmt.Errorf("%w at %s: agent id %s, want %s", ErrAnotherAgent, target, named(h.AgentID), named(before.AgentID))
	default:
		return nil
	}
}

func named(id string) string {
	if id == "" {
		return "(none)"
	}
	return id
}
