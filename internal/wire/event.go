package wire

// Started says that the process of an [Exec] runs, or that the connection of a
// [Forward] has been made.
type Started struct {
	Head   `msgpack:",inline"`
	PID    int    `msgpack:"pid,omitempty"`    // of an exec, in the guest; of 32 bits, as pids are
	Handle []byte `msgpack:"handle,omitempty"` // of an exec: 16 random bytes that name this one and no other
}

func (*Started) kind() Type { return TypeStarted }

func (m *Started) set(key string, f *fields) {
	switch key {
	case "pid":
		m.PID = f.integer()
	case "handle":
		m.Handle = f.bytes()
	default:
		f.skip()
	}
}

// Exited is the end of an exec that has started. It is sent after everything
// that its output streams carry, and their ends, have been written.
type Exited struct {
	Head `msgpack:",inline"`

	Code         int    `msgpack:"code"`                    // exit code; -1 where a signal ended it
	Signal       string `msgpack:"signal,omitempty"`        // name, without SIG
	SignalNumber int    `msgpack:"signal_number,omitempty"` // the guest's number for it
	CoreDumped   bool   `msgpack:"core_dumped,omitempty"`
	Reason       Reason `msgpack:"reason"`

	// How many bytes the agent has written to each output stream. A host that
	// has received fewer has lost some.
	StdoutBytes uint64 `msgpack:"stdout_bytes"`
	StderrBytes uint64 `msgpack:"stderr_bytes"`

	// Cut says that output was still open when the agent stopped reading it:
	// processes that the command left behind may have written more.
	Cut bool `msgpack:"cut,omitempty"`

	UserUS   uint64 `msgpack:"user_us,omitempty"`   // CPU time in user mode, microseconds
	SystemUS uint64 `msgpack:"system_us,omitempty"` // CPU time in the kernel, microseconds
	MaxRSS   uint64 `msgpack:"max_rss,omitempty"`   // largest resident set, bytes

	// OOMKilled says that the memory limit of the exec was used up, and that the
	// kernel has killed it.
	OOMKilled bool `msgpack:"oom_killed,omitempty"`
}

func (*Exited) kind() Type { return TypeExited }

func (m *Exited) set(key string, f *fields) {
	switch key {
	case "code":
		m.Code = f.integer()
	case "signal":
		m.Signal = f.text()
	case "signal_number":
		m.SignalNumber = f.integer()
	case "core_dumped":
		m.CoreDumped = f.flag()
	case "reason":
		m.Reason = Reason(f.text())
	case "stdout_bytes":
		m.StdoutBytes = f.count()
	case "stderr_bytes":
		m.StderrBytes = f.count()
	case "cut":
		m.Cut = f.flag()
	case "user_us":
		m.UserUS = f.count()
	case "system_us":
		m.SystemUS = f.count()
	case "max_rss":
		m.MaxRSS = f.count()
	case "oom_killed":
		m.OOMKilled = f.flag()
	default:
		f.skip()
	}
}

// A Reason says why a process ended.
type Reason string

// Why a process ended.
const (
	ReasonExit     Reason = "exit"     // by itself, with a code
	ReasonSignal   Reason = "signal"   // by a signal that the agent did not send to end it
	ReasonTimeout  Reason = "timeout"  // the exec's timeout ran out
	ReasonKilled   Reason = "killed"   // the host asked for it, or went away
	ReasonShutdown Reason = "shutdown" // the agent was shutting down
	ReasonLimit    Reason = "limit"    // the agent has no memory for its input, which it did not read
	ReasonLost     Reason = "lost"     // the kernel did not say: code is -1 and means nothing
)

// Done says that a request other than [Exec] has been carried out. Of a [Forward]
// it is the end.
type Done struct {
	Head  `msgpack:",inline"`
	Guest *Guest    `msgpack:"guest,omitempty"` // of [Info]
	Steps []Step    `msgpack:"steps,omitempty"` // of [Reseed], in the order in which they were taken
	Execs *ExecList `msgpack:"execs,omitempty"` // of [Execs]
}

func (*Done) kind() Type { return TypeDone }

func (m *Done) set(key string, f *fields) {
	switch key {
	case "guest":
		m.Guest = f.guest()
	case "steps":
		m.Steps = f.steps()
	case "execs":
		m.Execs = f.execs()
	default:
		f.skip()
	}
}

// A Guest is what an agent says of the machine that it runs in. What it cannot
// find out is empty or 0.
type Guest struct {
	Version  string `msgpack:"version,omitempty"` // of the agent
	Hostname string `msgpack:"hostname,omitempty"`
	OS       string `msgpack:"os,omitempty"`      // for people: PRETTY_NAME of os-release(5), else GOOS
	Kernel   string `msgpack:"kernel,omitempty"`  // release, uname -r
	Arch     string `msgpack:"arch,omitempty"`    // GOARCH
	BootID   string `msgpack:"boot_id,omitempty"` // as in [Hello]
	Resumes  uint64 `msgpack:"resumes,omitempty"` // as in [Hello]

	UptimeMS        uint64 `msgpack:"uptime_ms,omitempty"`        // since boot, suspended time included
	CPUs            uint64 `msgpack:"cpus,omitempty"`             // online
	MemoryTotal     uint64 `msgpack:"memory_total,omitempty"`     // bytes
	MemoryAvailable uint64 `msgpack:"memory_available,omitempty"` // bytes, for new processes without swapping

	// Load averages over 1, 5 and 15 minutes, in hundredths.
	Load1  uint64 `msgpack:"load1,omitempty"`
	Load5  uint64 `msgpack:"load5,omitempty"`
	Load15 uint64 `msgpack:"load15,omitempty"`

	// ClockNS is the wall clock, in nanoseconds since 1970-01-01 UTC, when the
	// answer was made.
	ClockNS uint64 `msgpack:"clock_ns,omitempty"`
}

func (f *fields) guest() *Guest {
	if f.null() {
		return nil
	}
	g := new(Guest)
	f.each(func(key string) { g.set(key, f) })
	return g
}

func (g *Guest) set(key string, f *fields) {
	switch key {
	case "version":
		g.Version = f.text()
	case "hostname":
		g.Hostname = f.text()
	case "os":
		g.OS = f.text()
	case "kernel":
		g.Kernel = f.text()
	case "arch":
		g.Arch = f.text()
	case "boot_id":
		g.BootID = f.text()
	case "resumes":
		g.Resumes = f.count()
	case "uptime_ms":
		g.UptimeMS = f.count()
	case "cpus":
		g.CPUs = f.count()
	case "memory_total":
		g.MemoryTotal = f.count()
	case "memory_available":
		g.MemoryAvailable = f.count()
	case "load1":
		g.Load1 = f.count()
	case "load5":
		g.Load5 = f.count()
	case "load15":
		g.Load15 = f.count()
	case "clock_ns":
		g.ClockNS = f.count()
	default:
		f.skip()
	}
}

// Error says that a request was not carried out, or that a [Forward] that has
// started was broken off, or, with ID 0, why the sender is about to close the
// connection.
type Error struct {
	Head    `msgpack:",inline"`
	Kind    ErrorKind `msgpack:"kind"`
	Message string    `msgpack:"message"`         // for people
	Steps   []Step    `msgpack:"steps,omitempty"` // of [Reseed], where it has been tried
}

func (*Error) kind() Type { return TypeError }

func (m *Error) set(key string, f *fields) {
	switch key {
	case "kind":
		m.Kind = ErrorKind(f.text())
	case "message":
		m.Message = f.text()
	case "steps":
		m.Steps = f.steps()
	default:
		f.skip()
	}
}

// An ErrorKind classes an [Error] for programs. The set is closed: a receiver
// takes a kind that it does not know for Internal.
type ErrorKind string

// The kinds of error.
const (
	BadRequest       ErrorKind = "bad_request"       // the request makes no sense or breaks a rule
	NotFound         ErrorKind = "not_found"         // the command, the exec that a request is about, or who serves an address
	PermissionDenied ErrorKind = "permission_denied" // not executable, or not allowed
	Unsupported      ErrorKind = "unsupported"       // this agent cannot do it
	Limit            ErrorKind = "limit"             // a limit or a resource is used up
	ShuttingDown     ErrorKind = "shutting_down"     // the agent takes no new work
	Internal         ErrorKind = "internal"          // the agent's own fault
)
