package wire

// Exec starts a process. It is answered by [Error], and then nothing has run,
// or by [Started] and later [Exited].
type Exec struct {
	Head

	// Argv is the command and its arguments. A command without a slash is
	// looked up in the PATH of the process's environment.
	Argv []string

	// Env lists KEY=VALUE on top of the base environment, or, with ClearEnv,
	// is the whole environment. The last of equal keys counts.
	Env      []string
	ClearEnv bool

	Dir  string // absolute; empty: the user's home, else /
	User string // name, uid, name:group or uid:gid; empty: the agent's own
	TTY  *TTY   // nil: no terminal

	// The yamux ids of the streams that the host has opened for this process.
	// 0: not wanted; stdin is then /dev/null, output is thrown away in the
	// guest. Stderr may be the same as Stdout: both then go through one pipe,
	// in the order in which they are written, and count as stdout.
	Stdin  uint32
	Stdout uint32
	Stderr uint32

	TimeoutMS    uint64  // 0: none
	LingerMS     *uint64 // how long output after the exit is read in all; nil: 10 s; 0: to its end
	OnDisconnect OnDisconnect
	Limits       *Limits // nil: none

	// Verbatim says that the arguments stand in the command line as they are, with spaces
	// between them. Of Windows guests.
	Verbatim bool

	Keeping
}

// Keeping says what of an exec outlives its connection.
type Keeping struct {
	// Key makes the start happen at most once: a request with a known key, up to [MaxKey]
	// bytes, is answered as the first one was. AgentID is the agent that is meant, as in
	// [Hello]. Both or neither are there.
	Key     []byte
	AgentID []byte

	// Detach keeps the exec when its connection ends, and the last Ring bytes of each
	// output: 0 for [DefaultRing], up to [MaxRing]. RingFull says what becomes of more.
	Detach   bool
	Ring     uint32
	RingFull RingFull

	// LeaseMS is how long the exec may go on while no connection is attached to it, in
	// milliseconds of the guest's time. 0: for ever.
	LeaseMS uint64
}

// Sizes of what is kept of an exec, in bytes.
const (
	MaxKey      = 64
	DefaultRing = 256 << 10
	MaxRing     = 16 << 20
)

// RingFull says what becomes of output that a full ring has no room for.
type RingFull string

// The rules for a full ring.
const (
	RingDrop  RingFull = "drop"  // the oldest output goes; "" means the same
	RingBlock RingFull = "block" // the command waits for [Acked]
)

func (*Exec) kind() Type { return TypeExec }

func (m *Exec) fields(f *fields) {
	m.Head.fields(f)
	texts(f, "argv", &m.Argv, always)
	texts(f, "env", &m.Env, filled)
	flag(f, "clear_env", &m.ClearEnv)
	text(f, "dir", &m.Dir, filled)
	text(f, "user", &m.User, filled)
	nested(f, "tty", &m.TTY, filled)
	natural(f, "stdin", &m.Stdin, filled)
	natural(f, "stdout", &m.Stdout, filled)
	natural(f, "stderr", &m.Stderr, filled)
	natural(f, "timeout_ms", &m.TimeoutMS, filled)
	optional(f, "linger_ms", &m.LingerMS)
	text(f, "on_disconnect", &m.OnDisconnect, filled)
	nested(f, "limits", &m.Limits, filled)
	flag(f, "verbatim", &m.Verbatim)
	octets(f, "key", &m.Key, filled)
	octets(f, "agent_id", &m.AgentID, filled)
	flag(f, "detach", &m.Detach)
	natural(f, "ring", &m.Ring, filled)
	text(f, "ring_full", &m.RingFull, filled)
	natural(f, "lease_ms", &m.LeaseMS, filled)
}

// TTY asks for a terminal. Zero rows or columns stand for 24 and 80.
type TTY struct {
	Rows     uint16
	Cols     uint16
	WidthPX  uint16 // of the whole window, in pixels; 0: not known
	HeightPX uint16
	Term     string // TERM; empty: xterm
	Modes    []byte // as RFC 4254, section 8, encodes them; empty: the guest's own
}

func (t *TTY) fields(f *fields) {
	natural(f, "rows", &t.Rows, filled)
	natural(f, "cols", &t.Cols, filled)
	natural(f, "width_px", &t.WidthPX, filled)
	natural(f, "height_px", &t.HeightPX, filled)
	text(f, "term", &t.Term, filled)
	octets(f, "modes", &t.Modes, filled)
}

// Limits bound what the whole process tree of an exec may use. 0: no limit.
// An agent that cannot set one refuses the exec.
type Limits struct {
	Memory   uint64 // bytes
	PIDs     uint64 // processes and threads at a time
	CPUMilli uint64 // thousandths of one CPU
}

func (l *Limits) fields(f *fields) {
	natural(f, "memory", &l.Memory, filled)
	natural(f, "pids", &l.PIDs, filled)
	natural(f, "cpu_milli", &l.CPUMilli, filled)
}

// OnDisconnect says what becomes of a process whose connection is lost.
type OnDisconnect string

// Values of OnDisconnect: the fate of a process whose connection is lost.
const (
	DisconnectKill OnDisconnect = "kill" // its whole tree ends; "" means the same
	DisconnectKeep OnDisconnect = "keep" // it lives on, its output thrown away
)
