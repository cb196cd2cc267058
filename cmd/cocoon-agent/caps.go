package main

import (
	"errors"
	"fmt"
	"math"
	"runtime/debug"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/session"
)

// capFlags are what hosts can have of "serve" at a time.
type capFlags struct {
	MaxConnections       count `group:"Limits:" default:"256" help:"Serve at most N connections at a time. (${default})" placeholder:"N"`
	MaxExecs             count `group:"Limits:" default:"4096" help:"Run at most N commands at a time. (${default})" placeholder:"N"`
	MaxConnectionExecs   count `group:"Limits:" default:"2048" help:"… on each connection. (${default})" placeholder:"N"`
	MaxStreams           count `group:"Limits:" default:"16384" help:"Have at most N streams open; a command has up to three. (${default})" placeholder:"N"`
	MaxConnectionStreams count `group:"Limits:" default:"8192" help:"… on each connection. (${default})" placeholder:"N"`
	MaxMessage           size  `group:"Limits:" default:"4M" help:"Take requests of at most SIZE: arguments and environment. 4K to 4M. (${default})" placeholder:"SIZE"`
	MaxInputMemory       size  `group:"Limits:" default:"32M" help:"Use at most SIZE of memory for input that commands have not read. 4M or more. (${default})" placeholder:"SIZE"`
	MaxConnectionInput   size  `group:"Limits:" name:"max-connection-input-memory" default:"24M" help:"… for each connection. (${default})" placeholder:"SIZE"`
}

func (f *capFlags) caps() (session.Caps, error) {
	for name, n := range map[string]uint64{
		"--max-connections": uint64(f.MaxConnections), "--max-execs": uint64(f.MaxExecs),
		"--max-connection-execs": uint64(f.MaxConnectionExecs), "--max-streams": uint64(f.MaxStreams),
		"--max-connection-streams": uint64(f.MaxConnectionStreams),
	} {
		if n > math.MaxInt32 {
			return session.Caps{}, fmt.Errorf("%s %d: the largest number is %d", name, n, math.MaxInt32)
		}
	}
	if f.MaxMessage < session.MinMessage || f.MaxMessage > session.DefaultMessage {
		return session.Caps{}, fmt.Errorf("--max-message %d: want %d to %d bytes", f.MaxMessage, session.MinMessage, session.DefaultMessage)
	}
	for name, n := range map[string]size{"--max-input-memory": f.MaxInputMemory, "--max-connection-input-memory": f.MaxConnectionInput} {
		if n < mux.MinInput || n > math.MaxInt64/2 {
			return session.Caps{}, fmt.Errorf("%s %d: want %d bytes or more", name, n, mux.MinInput)
		}
	}
	return session.Caps{
		Connections: int(f.MaxConnections),
		Execs:       int(f.MaxConnectionExecs), AllExecs: int(f.MaxExecs),
		Message: int(f.MaxMessage),
		Limits: mux.Limits{
			Streams: int(f.MaxConnectionStreams), AllStreams: int(f.MaxStreams),
			Input: int(f.MaxConnectionInput), AllInput: int(f.MaxInputMemory),
		},
	}, nil
}

// otherMemory is what the agent may have besides input before it is collected
// more eagerly than Go would by itself.
const otherMemory = 48 << 20

// collectInTime keeps garbage from doubling the memory of what --max-input-memory
// allows. GOMEMLIMIT comes first.
func (f *capFlags) collectInTime() {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(otherMemory + int64(f.MaxInputMemory))
	}
}

// policyFlags are what hosts may ask "serve" for.
type policyFlags struct {
	Allow   []string `placeholder:"VERB" help:"Carry out these requests alone: exec, signal, resize, kill, info, reseed, forward. ping is always answered."`
	Deny    []string `placeholder:"VERB" help:"Carry out all requests but these."`
	User    string   `placeholder:"USER" help:"Run commands as this user (name, uid, name:group or uid:gid) where the host names none. It may name any. Looked up for each command."`
	LogArgs bool     `help:"Log the arguments of commands, too: the first 64, of each 256 bytes."`
}

func (f *policyFlags) policy() (p session.Policy, err error) {
	p.User = f.User
	switch {
	case f.Allow != nil && f.Deny != nil:
		return p, errors.New("--allow and --deny exclude each other")
	case f.Allow != nil:
		if p.Denied, err = session.Allow(f.Allow); err != nil {
			err = fmt.Errorf("--allow: %w", err)
		}
	case f.Deny != nil:
		if p.Denied, err = session.Deny(f.Deny); err != nil {
			err = fmt.Errorf("--deny: %w", err)
		}
	}
	return p, err
}
