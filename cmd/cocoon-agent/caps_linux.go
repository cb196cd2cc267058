package main

import (
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/internal/local"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/session"
)

// capFlags are what hosts can have of "serve" at a time.
type capFlags struct {
	MaxConnections       count `group:"Limits:" default:"256" help:"Serve at most N connections at a time. (${default})" placeholder:"N"`
	MaxExecs             count `group:"Limits:" default:"4096" help:"Run at most N commands at a time. (${default})" placeholder:"N"`
	MaxConnectionExecs   count `group:"Limits:" default:"2048" help:"… on each connection. (${default})" placeholder:"N"`
	MaxKept              count `group:"Limits:" placeholder:"N" help:"Of these, let at most N be kept (client --keep) when their connections end. (1024, at most half of --max-execs)"`
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
		"--max-connection-streams": uint64(f.MaxConnectionStreams), "--max-kept": uint64(f.MaxKept),
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
		Execs:       int(f.MaxConnectionExecs), AllExecs: int(f.MaxExecs), Kept: int(f.MaxKept),
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

// ceilingFlags bound each command of "serve", whatever its host asks for.
type ceilingFlags struct {
	LimitMemory size          `group:"Limits:" placeholder:"SIZE" help:"Limit the memory of each command to SIZE, as client --memory does, whatever its host asks for."`
	LimitPIDs   count         `group:"Limits:" name:"limit-pids" placeholder:"N" help:"Limit each command to N processes and threads, as client --pids does."`
	LimitTime   time.Duration `group:"Limits:" placeholder:"TIME" help:"End each command after TIME, as client --timeout does."`
}

func (f *ceilingFlags) ceilings() (session.Ceilings, error) {
	switch {
	case f.LimitMemory > math.MaxInt64:
		return session.Ceilings{}, fmt.Errorf("--limit-memory %d: the largest number is %d", f.LimitMemory, int64(math.MaxInt64))
	case f.LimitPIDs > math.MaxInt64:
		return session.Ceilings{}, fmt.Errorf("--limit-pids %d: the largest number is %d", f.LimitPIDs, int64(math.MaxInt64))
	case f.LimitTime < 0:
		return session.Ceilings{}, fmt.Errorf("--limit-time %v is negative", f.LimitTime)
	}
	return session.Ceilings{Memory: int64(f.LimitMemory), PIDs: int64(f.LimitPIDs), Time: f.LimitTime}, nil
}

// serveVars are what the help of flags refers to.
func serveVars() kong.Vars { return kong.Vars{"verbs": strings.Join(session.Verbs(), ", ")} }

// policyFlags are what hosts may ask "serve" for.
type policyFlags struct {
	Allow   []string `placeholder:"VERB" help:"Carry out these requests alone: ${verbs}. ping is always answered."`
	Deny    []string `placeholder:"VERB" help:"Carry out all requests but these."`
	Forward []string `sep:"none" placeholder:"RULE" help:"Let forwards lead to these addresses alone: tcp:PORT, tcp:LOW-HIGH, tcp:*, unix:/PATH, unix:@NAME (with * and ? as in file names), or none. Repeatable. Default: every address of the guest's own."`
	User    *string  `placeholder:"USER" help:"Run commands as this user (name, uid, name:group or uid:gid) if the host names none; it may name any. Make all forwards as this user. Looked up each time."`
	LogArgs bool     `help:"Log the arguments of commands, too: the first 64, of each 256 bytes."`
	Audit   string   `default:"best-effort" enum:"best-effort,strict" placeholder:"MODE" help:"best-effort: run commands although the log cannot be written. strict: refuse them meanwhile (limit). Default: best-effort."`
}

func (f *policyFlags) policy() (p session.Policy, err error) {
	if f.User != nil {
		if p.User = *f.User; p.User == "" {
			return p, errors.New("--user is empty: want a name, uid, name:group or uid:gid")
		}
	}
	if f.Forward != nil {
		if p.Forward, err = local.ParseRules(f.Forward); err != nil {
			return p, fmt.Errorf("--forward: %w", err)
		}
	}
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
