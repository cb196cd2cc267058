package wire

// Attach carries the output of an exec that was started with Detach, from an offset on, and
// then what follows, as long as it runs. It is answered as an exec is: by [Error], or by
// [Started], which says where the output begins, and later [Exited]. Without streams it waits
// for the end of the exec. If the host takes output so slowly that it is not kept any more
// then the last answer is an [Error] with a Behind. When the connection ends, the exec goes on.
type Attach struct {
	Head

	// Handle names the exec, as [Started] and [Execs] do. AgentID, if it is there, is the
	// agent that is meant, as in [Hello]: a clone has the handles of its original.
	Handle  []byte
	AgentID []byte

	// The yamux ids of the streams that the host has opened. 0: not wanted. One connection
	// at a time writes stdin.
	Stdin  uint32
	Stdout uint32
	Stderr uint32

	// From says where the output begins: at these offsets, which count the bytes of the
	// output from its beginning, or at another place.
	From         From
	StdoutOffset uint64
	StderrOffset uint64

	Redraw Redraw // how the screen of a terminal is restored
}

// Redraw says how the screen of a terminal is restored that somebody attaches to.
type Redraw string

// How it is restored.
const (
	RedrawNone   Redraw = "none"   // not at all; "" means the same
	RedrawAuto   Redraw = "auto"   // winch on the alternate screen, else replay
	RedrawReplay Redraw = "replay" // the modes, and the last output from the beginning of a line
	RedrawWinch  Redraw = "winch"  // the modes, and two window sizes, so that the program draws
)

// From says where the output of an [Attach] begins.
type From string

// The places at which the output of an [Attach] may begin.
const (
	FromOffset From = ""       // at the offsets
	FromOldest From = "oldest" // with the oldest output that is kept
	FromNow    From = "now"    // with what the command writes next
)

func (*Attach) kind() Type { return TypeAttach }

func (m *Attach) fields(f *fields) {
	m.Head.fields(f)
	octets(f, "handle", &m.Handle, always)
	octets(f, "agent_id", &m.AgentID, filled)
	natural(f, "stdin", &m.Stdin, filled)
	natural(f, "stdout", &m.Stdout, filled)
	natural(f, "stderr", &m.Stderr, filled)
	text(f, "from", &m.From, filled)
	natural(f, "stdout_offset", &m.StdoutOffset, filled)
	natural(f, "stderr_offset", &m.StderrOffset, filled)
	text(f, "redraw", &m.Redraw, filled)
}

// Acked says how much output of a detached exec the host has and needs no more: the offsets
// of the first bytes that it has not. Its id is that of the [Exec] or [Attach]. There is no
// answer.
type Acked struct {
	Head

	StdoutOffset uint64
	StderrOffset uint64
}

func (*Acked) kind() Type { return TypeAcked }

func (m *Acked) fields(f *fields) {
	m.Head.fields(f)
	natural(f, "stdout_offset", &m.StdoutOffset, filled)
	natural(f, "stderr_offset", &m.StderrOffset, filled)
}

// Leave ends an [Attach], or the part of an [Exec] with Detach that carries its output. The
// host has reset the streams. It is answered by [Done] or [Error], and the attach or exec
// by [Done], unless it has ended. The command goes on.
type Leave struct {
	Head

	Exec uint64 // the id of the attach or exec
}

func (*Leave) kind() Type { return TypeLeave }

func (m *Leave) fields(f *fields) {
	m.Head.fields(f)
	natural(f, "exec", &m.Exec, always)
}

// Release does away with what is kept of an exec that has ended. It is answered by [Done]
// or [Error].
type Release struct {
	Head

	Handle []byte // as in [Started]
}

func (*Release) kind() Type { return TypeRelease }

func (m *Release) fields(f *fields) {
	m.Head.fields(f)
	octets(f, "handle", &m.Handle, always)
}

// A Behind says which output is not kept from the offset that a host wants.
type Behind struct {
	Stderr bool   // standard error, not standard output
	Want   uint64 // the offset that the host wants
	Oldest uint64 // the oldest one that is kept
	Newest uint64 // the end of the output so far
}

func (b *Behind) fields(f *fields) {
	flag(f, "stderr", &b.Stderr)
	natural(f, "want", &b.Want, always)
	natural(f, "oldest", &b.Oldest, always)
	natural(f, "newest", &b.Newest, always)
}

// An ExecEnd is how an exec in a list has ended. Its fields are those of [Exited].
type ExecEnd struct {
	Code         int
	Signal       string
	SignalNumber int
	Reason       Reason
	Status       uint32
}

func (e *ExecEnd) fields(f *fields) {
	integer(f, "code", &e.Code, always)
	text(f, "signal", &e.Signal, filled)
	integer(f, "signal_number", &e.SignalNumber, filled)
	text(f, "reason", &e.Reason, always)
	natural(f, "status", &e.Status, filled)
}
