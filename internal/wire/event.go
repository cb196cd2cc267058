package wire

// Started says that the process of an [Exec] runs, or that the connection of a
// [Forward] has been made.
type Started struct {
	Head
	PID    int      // of an exec, in the guest; of 32 bits, as pids are
	Handle []byte   // of an exec: 16 random bytes that name this one and no other
	Notes  []string // of an exec: what is unusual about it; a host ignores those that it does not know

	Repeated bool // an earlier request with the key of this one has started the exec

	// The offsets at which the output streams begin, of [Attach].
	StdoutOffset uint64
	StderrOffset uint64

	// How much output there is so far, of [Attach].
	StdoutBytes uint64
	StderrBytes uint64

	Redraw uint64 // of an [Attach] with Redraw: how many bytes on stdout come before that offset

	Address string // of a [Listen]: its own; of an [Accept]: the client's
}

func (*Started) kind() Type { return TypeStarted }

func (m *Started) fields(f *fields) {
	m.Head.fields(f)
	integer(f, "pid", &m.PID, filled)
	octets(f, "handle", &m.Handle, filled)
	texts(f, "notes", &m.Notes, filled)
	flag(f, "repeated", &m.Repeated)
	natural(f, "stdout_offset", &m.StdoutOffset, filled)
	natural(f, "stderr_offset", &m.StderrOffset, filled)
	natural(f, "redraw", &m.Redraw, filled)
	natural(f, "stdout_bytes", &m.StdoutBytes, filled)
	natural(f, "stderr_bytes", &m.StderrBytes, filled)
	text(f, "address", &m.Address, filled)
}

// Exited is the end of an exec that has started. It is sent after everything
// that its output streams carry, and their ends, have been written.
type Exited struct {
	Head

	Code         int    // exit code; -1 if a signal ended the command
	Signal       string // name, without SIG
	SignalNumber int    // the guest's number for it
	CoreDumped   bool
	Reason       Reason

	// How many bytes the agent has written to each output stream. A host that
	// has received fewer has lost some.
	StdoutBytes uint64
	StderrBytes uint64

	// Cut says that output was still open when the agent stopped reading it:
	// processes that the command left behind may have written more.
	Cut bool

	UserUS   uint64 // CPU time in user mode, microseconds
	SystemUS uint64 // CPU time in the kernel, microseconds
	MaxRSS   uint64 // largest resident set, bytes

	// Message says, for people, why the reason is [ReasonLost]. It may be empty.
	Message string

	// OOMKilled says that the memory limit of the exec was used up, and that the
	// kernel has killed it.
	OOMKilled bool

	// Status is the exit code in a Windows guest, which has 32 bits. Code has the same bits
	// as a signed number. 0 elsewhere.
	Status uint32
}

func (*Exited) kind() Type { return TypeExited }

func (m *Exited) fields(f *fields) {
	m.Head.fields(f)
	integer(f, "code", &m.Code, always)
	text(f, "signal", &m.Signal, filled)
	integer(f, "signal_number", &m.SignalNumber, filled)
	flag(f, "core_dumped", &m.CoreDumped)
	text(f, "reason", &m.Reason, always)
	natural(f, "stdout_bytes", &m.StdoutBytes, always)
	natural(f, "stderr_bytes", &m.StderrBytes, always)
	flag(f, "cut", &m.Cut)
	natural(f, "user_us", &m.UserUS, filled)
	natural(f, "system_us", &m.SystemUS, filled)
	natural(f, "max_rss", &m.MaxRSS, filled)
	flag(f, "oom_killed", &m.OOMKilled)
	text(f, "message", &m.Message, filled)
	natural(f, "status", &m.Status, filled)
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
	Head
	Guest *Guest    // of [Info]
	Agent *Agent    // likewise
	Steps []Step    // of [Reseed], [Quiesce] and [Thaw], in the order in which they were taken
	Execs *ExecList // of [Execs]

	Thawed *Thawed // of [Thaw]
}

func (*Done) kind() Type { return TypeDone }

func (m *Done) fields(f *fields) {
	m.Head.fields(f)
	nested(f, "guest", &m.Guest, filled)
	nested(f, "agent", &m.Agent, filled)
	list(f, "steps", &m.Steps, maxSteps, filled)
	nested(f, "execs", &m.Execs, filled)
	nested(f, "thawed", &m.Thawed, filled)
}

// A Guest describes the machine of an agent. A field that the agent cannot find
// out is empty or 0.
type Guest struct {
	Version  string // of the agent
	Hostname string
	OS       string // for people: PRETTY_NAME of os-release(5), else GOOS
	Kernel   string // release, uname -r
	Arch     string // GOARCH
	BootID   string // as in [Hello]
	Resumes  uint64 // as in [Hello]

	UptimeMS        uint64 // since boot, suspended time included
	CPUs            uint64 // online
	CPUNS           uint64 // of all CPUs since boot, without what they idled or other VMs took
	MemoryTotal     uint64 // bytes
	MemoryAvailable uint64 // bytes, for new processes without swapping

	// Load averages over 1, 5 and 15 minutes, in hundredths.
	Load1  uint64
	Load5  uint64
	Load15 uint64

	Start       string // how processes are started, for people: "clone3" if a start that hangs holds nothing up
	StartsStuck uint64 // starts that hang and that SIGKILL has not ended

	// ClockNS is the wall clock, in nanoseconds since 1970-01-01 UTC, when the
	// answer was made.
	ClockNS uint64
}

func (g *Guest) fields(f *fields) {
	text(f, "version", &g.Version, filled)
	text(f, "hostname", &g.Hostname, filled)
	text(f, "os", &g.OS, filled)
	text(f, "kernel", &g.Kernel, filled)
	text(f, "arch", &g.Arch, filled)
	text(f, "boot_id", &g.BootID, filled)
	natural(f, "resumes", &g.Resumes, filled)
	natural(f, "uptime_ms", &g.UptimeMS, filled)
	natural(f, "cpus", &g.CPUs, filled)
	natural(f, "cpu_ns", &g.CPUNS, filled)
	natural(f, "memory_total", &g.MemoryTotal, filled)
	natural(f, "memory_available", &g.MemoryAvailable, filled)
	natural(f, "load1", &g.Load1, filled)
	natural(f, "load5", &g.Load5, filled)
	natural(f, "load15", &g.Load15, filled)
	natural(f, "clock_ns", &g.ClockNS, filled)
	text(f, "start", &g.Start, filled)
	natural(f, "starts_stuck", &g.StartsStuck, filled)
}

// An Agent is what an agent says of itself, since it has begun.
type Agent struct {
	UptimeMS    uint64
	RSS         uint64 // bytes
	Connections uint64 // open, that of the request included
	Refused     uint64 // peers that may not connect

	ExecsStarted uint64
	ExecsFailed  uint64 // did not start
	ExecsRunning uint64

	ForwardsStarted uint64
	ForwardsFailed  uint64 // made no connection
	ForwardsRunning uint64

	StdinBytes uint64 // that commands were given, of inputs that have ended

	// Bytes that hosts have taken, of execs that have ended.
	StdoutBytes uint64
	StderrBytes uint64

	CgroupsKept uint64 // of execs that have ended: something is in them

	RecordsKept uint64 // of execs with Key or Detach that have ended
	RingMemory  uint64 // bytes that the output of execs with Detach takes
}

func (a *Agent) fields(f *fields) {
	natural(f, "uptime_ms", &a.UptimeMS, filled)
	natural(f, "rss", &a.RSS, filled)
	natural(f, "connections", &a.Connections, filled)
	natural(f, "refused", &a.Refused, filled)
	natural(f, "execs_started", &a.ExecsStarted, filled)
	natural(f, "execs_failed", &a.ExecsFailed, filled)
	natural(f, "execs_running", &a.ExecsRunning, filled)
	natural(f, "forwards_started", &a.ForwardsStarted, filled)
	natural(f, "forwards_failed", &a.ForwardsFailed, filled)
	natural(f, "forwards_running", &a.ForwardsRunning, filled)
	natural(f, "stdin_bytes", &a.StdinBytes, filled)
	natural(f, "stdout_bytes", &a.StdoutBytes, filled)
	natural(f, "stderr_bytes", &a.StderrBytes, filled)
	natural(f, "cgroups_kept", &a.CgroupsKept, filled)
	natural(f, "records_kept", &a.RecordsKept, filled)
	natural(f, "ring_memory", &a.RingMemory, filled)
}

// Error says that a request was not carried out, or that a [Forward] that has
// started was broken off, or, with ID 0, why the sender is about to close the
// connection.
type Error struct {
	Head
	Kind    ErrorKind
	Message string // for people
	Steps   []Step // of [Reseed] or [Quiesce], if the agent has tried it

	// Reason says why the agent has ended an exec whose process had not become the
	// command yet, since its start hung. Empty: that is not so.
	Reason Reason

	Behind *Behind // of [Attach], and of an [Exec] with Detach: output that is not kept any more
}

func (*Error) kind() Type { return TypeError }

func (m *Error) fields(f *fields) {
	m.Head.fields(f)
	text(f, "kind", &m.Kind, always)
	text(f, "message", &m.Message, always)
	list(f, "steps", &m.Steps, maxSteps, filled)
	text(f, "reason", &m.Reason, filled)
	nested(f, "behind", &m.Behind, filled)
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
