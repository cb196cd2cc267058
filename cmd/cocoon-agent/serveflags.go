//go:build linux || windows

package main

import (
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/local"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/session"
)

// quotaFlags are what hosts can have of "serve" at a time.
type quotaFlags struct {
	MaxConnections        count `group:"Limits:" default:"256" help:"Maximum number of connections. (${default})" placeholder:"N"`
	MaxExecs              count `group:"Limits:" default:"4096" help:"Maximum number of running commands. (${default})" placeholder:"N"`
	MaxConnectionExecs    count `group:"Limits:" default:"2048" help:"Maximum number of running commands per connection. (${default})" placeholder:"N"`
	MaxForwards           count `group:"Limits:" default:"8192" help:"Maximum number of open connections to services in the guest. (${default})" placeholder:"N"`
	MaxConnectionForwards count `group:"Limits:" default:"4096" help:"Maximum number of open connections to services in the guest, per connection of a host. (${default})" placeholder:"N"`
	MaxKept               count `group:"Limits:" placeholder:"N" help:"Maximum number of commands that outlive their connection (client --keep). (1024, at most half of --max-execs)"`
	MaxRingMemory         size  `group:"Limits:" default:"32M" help:"Maximum memory for output that the agent keeps of detached commands (client --detach, --resume), 8K or more for each. (${default})" placeholder:"SIZE"`
	MaxRecords            count `group:"Limits:" default:"4096" help:"Maximum number of ended detached commands whose exit status and output the agent keeps. (${default})" placeholder:"N"`
	MaxStreams            count `group:"Limits:" default:"16384" help:"Maximum number of open streams. A command has up to three. (${default})" placeholder:"N"`
	MaxConnectionStreams  count `group:"Limits:" default:"8192" help:"Maximum number of open streams per connection. (${default})" placeholder:"N"`
	MaxMessage            size  `group:"Limits:" default:"4M" help:"Maximum size of a request (arguments and environment), from 4K to 4M. (${default})" placeholder:"SIZE"`
	MaxInputMemory        size  `group:"Limits:" default:"32M" help:"Maximum memory for input that commands have not read, 4M or more. (${default})" placeholder:"SIZE"`
	MaxConnectionInput    size  `group:"Limits:" name:"max-connection-input-memory" default:"24M" help:"Maximum memory for input that commands have not read, per connection. (${default})" placeholder:"SIZE"`
}

func (f *quotaFlags) quotas() (session.Quotas, error) {
	for name, n := range map[string]uint64{
		"--max-connections": uint64(f.MaxConnections), "--max-execs": uint64(f.MaxExecs),
		"--max-connection-execs": uint64(f.MaxConnectionExecs), "--max-streams": uint64(f.MaxStreams),
		"--max-connection-streams": uint64(f.MaxConnectionStreams), "--max-kept": uint64(f.MaxKept),
		"--max-forwards": uint64(f.MaxForwards), "--max-connection-forwards": uint64(f.MaxConnectionForwards), "--max-records": uint64(f.MaxRecords),
	} {
		if n > math.MaxInt32 {
			return session.Quotas{}, fmt.Errorf("%s %d: want at most %d", name, n, math.MaxInt32)
		}
	}
	if f.MaxMessage < session.MinMessage || f.MaxMessage > session.DefaultMessage {
		return session.Quotas{}, fmt.Errorf("--max-message %d: want %d to %d bytes", f.MaxMessage, session.MinMessage, session.DefaultMessage)
	}
	for name, n := range map[string]size{"--max-input-memory": f.MaxInputMemory, "--max-connection-input-memory": f.MaxConnectionInput} {
		if n < mux.MinInput || n > math.MaxInt64/2 {
			return session.Quotas{}, fmt.Errorf("%s %d: want %d bytes or more", name, n, mux.MinInput)
		}
	}
	if f.MaxRingMemory < 8<<10 || f.MaxRingMemory > math.MaxInt64/2 {
		return session.Quotas{}, fmt.Errorf("--max-ring-memory %d: want 8192 bytes or more", f.MaxRingMemory)
	}
	return session.Quotas{
		Keeping:     job.Quotas{Rings: int(f.MaxRingMemory), Records: int(f.MaxRecords)},
		Connections: int(f.MaxConnections),
		Execs:       int(f.MaxConnectionExecs), AllExecs: int(f.MaxExecs), Kept: int(f.MaxKept),
		Forwards: int(f.MaxConnectionForwards), AllForwards: int(f.MaxForwards),
		Message: int(f.MaxMessage),
		QuotaConfig: mux.QuotaConfig{
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
func (f *quotaFlags) collectInTime() {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(otherMemory + int64(f.MaxInputMemory))
	}
}

// ceilingFlags bound each command of "serve", whatever its host asks for.
type ceilingFlags struct {
	LimitMemory size          `group:"Limits:" placeholder:"SIZE" help:"Memory limit of each command, even if the host requests more or none (client --memory)."`
	LimitPIDs   count         `group:"Limits:" name:"limit-pids" placeholder:"N" help:"Maximum number of processes and threads of each command (client --pids)."`
	LimitTime   time.Duration `group:"Limits:" placeholder:"TIME" help:"Terminate each command after TIME (client --timeout)."`
}

func (f *ceilingFlags) ceilings() (session.Ceilings, error) {
	switch {
	case f.LimitMemory > math.MaxInt64:
		return session.Ceilings{}, fmt.Errorf("--limit-memory %d: want at most %d", f.LimitMemory, int64(math.MaxInt64))
	case f.LimitPIDs > math.MaxInt64:
		return session.Ceilings{}, fmt.Errorf("--limit-pids %d: want at most %d", f.LimitPIDs, int64(math.MaxInt64))
	case f.LimitTime < 0:
		return session.Ceilings{}, fmt.Errorf("--limit-time %v is negative", f.LimitTime)
	}
	return session.Ceilings{Memory: int64(f.LimitMemory), PIDs: int64(f.LimitPIDs), Time: f.LimitTime}, nil
}

// serveVars are what the help of flags refers to.
func serveVars() kong.Vars { return kong.Vars{"verbs": strings.Join(session.Verbs(), ", ")} }

// policyFlags are what hosts may ask "serve" for.
type policyFlags struct {
	Allow       []string `placeholder:"VERB" help:"Allow only these requests: ${verbs}. ping is always allowed."`
	Deny        []string `placeholder:"VERB" help:"Deny these requests and allow all others."`
	Forward     []string `sep:"none" placeholder:"RULE" help:"Allow forwards only to these addresses in the guest: tcp:PORT, tcp:LOW-HIGH, tcp:*, unix:/PATH, unix:@NAME (with * and ? as in file names), or none. Repeatable. Default: all."`
	AllowListen []string `sep:"none" placeholder:"RULE" help:"Allow hosts to listen in the guest, on these ports of the loopback interface: tcp:PORT, tcp:LOW-HIGH or tcp:*, which includes any free port. Repeatable. Default: none."`
	User        *string  `placeholder:"USER" help:"Run commands as USER if the host requests no user: name, uid, name:group or uid:gid. Run all forwards as USER. The host may still request any user. Looked up for each request."`
	LogArgs     bool     `help:"Log the arguments of commands: the first 64, up to 256 bytes each."`
	Audit       string   `default:"best-effort" enum:"best-effort,strict" placeholder:"MODE" help:"best-effort: run commands even if the log cannot be written. strict: refuse them (error kind limit). Default: best-effort."`
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
	if f.AllowListen != nil {
		if p.Listen, err = local.ParsePortRules(f.AllowListen); err != nil {
			return p, fmt.Errorf("--allow-listen: %w", err)
		}
	}
	switch {
	case f.Allow != nil && f.Deny != nil:
		return p, errors.New("--allow and --deny are mutually exclusive")
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
