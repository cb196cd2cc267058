package wire

// Execs asks which execs run, on whatever connection. It is answered by [Done]
// with its Execs. An agent lists those of hosts of the asking host's class alone.
type Execs struct {
	Head
}

func (*Execs) kind() Type { return TypeExecs }

// An ExecList is the answer to [Execs].
type ExecList struct {
	Running []ExecState // the oldest first, at most [MaxExecs]
	Ended   []ExecState // those that have ended and are kept, the oldest first, at most [MaxExecs]
	More    uint64      // how many others run
}

// MaxExecs is how many execs one answer lists.
const MaxExecs = 8192

// An ExecState describes an exec that runs.
type ExecState struct {
	Handle    []byte // as in [Started]
	PID       int    // in the guest
	Command   string
	User      string // as the request or the agent's policy names it; empty: the agent's own
	TTY       bool
	Keep      bool   // it lives on when its connection ends
	Connected bool   // its connection has not ended
	RunningMS uint64 // for how long it has run, milliseconds

	// Of an exec with Detach: the offsets of the oldest output that is kept, and how many
	// bytes of output there have been.
	Detached                   bool
	Input                      bool // an [Attach] may write its stdin, which has not ended
	StdoutOldest, StderrOldest uint64
	StdoutBytes, StderrBytes   uint64

	Exited *ExecEnd // how it ended; nil: it runs
}

func (l *ExecList) fields(f *fields) {
	list(f, "running", &l.Running, MaxExecs, filled)
	list(f, "ended", &l.Ended, MaxExecs, filled)
	natural(f, "more", &l.More, filled)
}

func (e *ExecState) fields(f *fields) {
	octets(f, "handle", &e.Handle, always)
	integer(f, "pid", &e.PID, always)
	text(f, "command", &e.Command, filled)
	text(f, "user", &e.User, filled)
	flag(f, "tty", &e.TTY)
	flag(f, "keep", &e.Keep)
	flag(f, "connected", &e.Connected)
	natural(f, "running_ms", &e.RunningMS, always)
	flag(f, "detached", &e.Detached)
	flag(f, "input", &e.Input)
	natural(f, "stdout_oldest", &e.StdoutOldest, filled)
	natural(f, "stderr_oldest", &e.StderrOldest, filled)
	natural(f, "stdout_bytes", &e.StdoutBytes, filled)
	natural(f, "stderr_bytes", &e.StderrBytes, filled)
	nested(f, "exited", &e.Exited, filled)
}
