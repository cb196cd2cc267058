// Package v1 is protocol version 1, for hosts and agents that know no other
// (docs/protocol.md, section 8): one connection for each command, JSON objects,
// one for each line, with the bytes of streams as base64.
//
// It translates, so that agent and client are programs of version 2 alone. A
// [Host] stands for a version-1 host, and is the host's end of a version-2
// connection to the agent's session. An [Agent] stands for a version-1 agent,
// and is the agent's end of a version-2 connection to the client. Nothing is
// kept in between: who does not read holds up whom it does not read from.
package v1

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Version is the version of the protocol that this package speaks.
const Version = 1

// MaxLine is the longest line, in bytes, newline included.
const MaxLine = 8 << 20

// maxValues bounds what a line of many empty strings costs to decode.
const maxValues = wire.MaxElements

// A Type is what a frame is.
type Type string

// The types of frames.
const (
	TypeExec       Type = "exec"        // host: argv, env; the first
	TypeReseed     Type = "reseed"      // host: data is entropy; regen_machine_id; the first
	TypeStdin      Type = "stdin"       // host: data
	TypeStdinClose Type = "stdin_close" // host
	TypeStarted    Type = "started"     // agent: pid
	TypeStdout     Type = "stdout"      // agent: data
	TypeStderr     Type = "stderr"      // agent: data
	TypeExit       Type = "exit"        // agent: exit_code; the last
	TypeError      Type = "error"       // agent: message; the last
)

// Begins says whether a first line of this type is a version-1 host's.
func Begins(t string) bool { return Type(t) == TypeExec || Type(t) == TypeReseed }

// A Frame is one line. Members that are 0 or empty are left out.
type Frame struct {
	Type           Type              `json:"type"`
	Argv           []string          `json:"argv,omitempty"`
	Env            map[string]string `json:"env,omitempty"`
	Data           []byte            `json:"data,omitempty"` // base64 on the wire
	PID            int               `json:"pid,omitempty"`
	ExitCode       int               `json:"exit_code,omitempty"` // -1: a signal ended the process
	Message        string            `json:"message,omitempty"`
	RegenMachineID bool              `json:"regen_machine_id,omitempty"`

	// Kind is of a version-2 agent's refusal, and a version-1 peer ignores it.
	Kind wire.ErrorKind `json:"kind,omitempty"`
}

// ErrMalformed is wrapped by the errors of lines that do not hold a frame.
var ErrMalformed = errors.New("malformed frame")

// Decode decodes one line. Unknown members are ignored. Errors wrap [ErrMalformed].
func Decode(line []byte) (*Frame, error) {
	if n := values(line); n > maxValues {
		return nil, fmt.Errorf("%w: more than %d values", ErrMalformed, maxValues)
	}
	f := new(Frame)
	if err := json.Unmarshal(line, f); err != nil {
		return nil, malformed(err)
	}
	if f.Type == "" {
		return nil, fmt.Errorf("%w: no type", ErrMalformed)
	}
	return f, nil
}

// DecodeAgent is Decode for a line of an agent's: members that only a host sends are
// ignored, and take no memory, however many values they have.
func DecodeAgent(line []byte) (*Frame, error) {
	var f struct {
		Type     Type           `json:"type"`
		Data     []byte         `json:"data"`
		PID      int            `json:"pid"`
		ExitCode int            `json:"exit_code"`
		Message  string         `json:"message"`
		Kind     wire.ErrorKind `json:"kind"`
	}
	if err := json.Unmarshal(line, &f); err != nil {
		return nil, malformed(err)
	}
	if f.Type == "" {
		return nil, fmt.Errorf("%w: no type", ErrMalformed)
	}
	return &Frame{Type: f.Type, Data: f.Data, PID: f.PID, ExitCode: f.ExitCode, Message: f.Message, Kind: f.Kind}, nil
}

func malformed(err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%w: %s is a JSON %s", ErrMalformed, wrong.Field, wrong.Value)
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

// values is how many values line has at most, itself included: one more than
// the commas and opening brackets outside of its strings.
func values(line []byte) int {
	n, quoted := 1, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == '[' || c == '{'):
			n++
		}
	}
	return n
}
