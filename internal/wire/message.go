package wire

// A Type names a message on the wire.
type Type string

// The message types.
const (
	TypeHello  Type = "hello"
	TypeExec   Type = "exec"
	TypeSignal Type = "signal"
	TypeResize Type = "resize"
	TypeKill   Type = "kill"
	TypePing   Type = "ping"
	TypeInfo   Type = "info"
	TypeReseed Type = "reseed"

	TypeForward Type = "forward"
	TypeExecs   Type = "execs"
	TypeAttach  Type = "attach"
	TypeAcked   Type = "acked"
	TypeLeave   Type = "leave"
	TypeRelease Type = "release"
	TypeListen  Type = "listen"
	TypeAccept  Type = "accept"
	TypeFiles   Type = "files"
	TypeQuiesce Type = "quiesce"
	TypeThaw    Type = "thaw"

	TypeStarted Type = "started"
	TypeExited  Type = "exited"
	TypeDone    Type = "done"
	TypeError   Type = "error"
)

// Head is what every message begins with. Type is filled in by [Append]; ID is
// the request that the message is about, 0 for a message about the connection.
type Head struct {
	Type Type
	ID   uint64
}

func (h *Head) head() *Head { return h }

func (h *Head) fields(f *fields) {
	text(f, "type", &h.Type, always)
	natural(f, "id", &h.ID, filled)
}

// A Message is a pointer to one of the structs of this package that embed [Head].
type Message interface {
	record
	head() *Head
	kind() Type
}

// Unknown is a message of a type that this package does not know. If it has an
// ID, a receiver answers it with an [Error] of kind [Unsupported].
type Unknown struct {
	Head
}

func (m *Unknown) kind() Type { return m.Type }

// Hello is the first message in each direction. The version of the connection
// is the highest one in both ranges.
type Hello struct {
	Head
	Min      int      // lowest protocol version spoken
	Max      int      // highest protocol version spoken
	Features []string // what it can beyond the base protocol
	Version  string   // of the software, for people
	OS       string   // GOOS
	Arch     string   // GOARCH
	BootID   string   // the agent's kernel's, /proc/sys/kernel/random/boot_id
	Resumes  uint64   // the agent's: how many times [Reseed] has succeeded since it started

	// AgentID is the agent's: 16 random bytes, new at each start of the agent
	// and at each successful [Reseed].
	AgentID []byte
}

// Features that an agent names in [Hello]. A host sends what belongs to one
// only after the agent has named it.
const (
	// FeatureExecs is [Execs], and the handle of [Kill].
	FeatureExecs = "execs"

	// FeatureLinger is LingerMS of [Exec].
	FeatureLinger = "linger"

	// FeatureListen is [Listen] and [Accept].
	FeatureListen = "listen"

	// FeatureStreamClose is the meaning of a reset of an output: its reader is gone.
	FeatureStreamClose = "stream-close"

	// FeatureTTYModes are Modes, WidthPX and HeightPX of [TTY] and [Resize].
	FeatureTTYModes = "tty-modes"

	// FeatureKeys is Key of [Exec], FeatureDetach its Detach, [Attach],
	// [Acked], [Leave] and [Release].
	FeatureKeys   = "keys"
	FeatureDetach = "detach"

	// FeatureVerbatim is Verbatim of [Exec].
	FeatureVerbatim = "verbatim"

	// FeatureFiles is [Files].
	FeatureFiles = "files"

	// FeatureFilesOptions is the options a, A, v and V of [Files]: attributes, special files and SHA-256.
	FeatureFilesOptions = "files-options"

	// FeatureQuiesce is [Quiesce] and [Thaw].
	FeatureQuiesce = "quiesce"

	// FeatureReseedNetwork is Network of [Reseed].
	FeatureReseedNetwork = "reseed-network"
)

// Features returns all features, those that only agents of some systems have included.
func Features() []string {
	return []string{
		FeatureDetach, FeatureExecs, FeatureFiles, FeatureFilesOptions, FeatureKeys, FeatureLinger, FeatureListen, FeatureQuiesce,
		FeatureReseedNetwork, FeatureStreamClose, FeatureTTYModes, FeatureVerbatim,
	}
}

func (*Hello) kind() Type { return TypeHello }

func (m *Hello) fields(f *fields) {
	m.Head.fields(f)
	integer(f, "min", &m.Min, always)
	integer(f, "max", &m.Max, always)
	texts(f, "features", &m.Features, filled)
	text(f, "version", &m.Version, filled)
	text(f, "os", &m.OS, filled)
	text(f, "arch", &m.Arch, filled)
	text(f, "boot_id", &m.BootID, filled)
	natural(f, "resumes", &m.Resumes, filled)
	octets(f, "agent_id", &m.AgentID, filled)
}
