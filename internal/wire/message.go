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

	TypeStarted Type = "started"
	TypeExited  Type = "exited"
	TypeDone    Type = "done"
	TypeError   Type = "error"
)

// Head is what every message begins with. Type is filled in by [Append]; ID is
// the request that the message is about, 0 for a message about the connection.
type Head struct {
	Type Type   `msgpack:"type"`
	ID   uint64 `msgpack:"id,omitempty"`
}

func (h *Head) head() *Head { return h }

func (h *Head) set(key string, f *fields) {
	switch key {
	case "type":
		h.Type = Type(f.text())
	case "id":
		h.ID = f.count()
	default:
		f.skip()
	}
}

// A Message is a pointer to one of the structs of this package that embed [Head].
type Message interface {
	head() *Head
	kind() Type
	set(key string, f *fields) // decodes one field, or skips it
}

// Unknown is a message of a type that this package does not know. A receiver
// answers it with an [Error] of kind [Unsupported] where it has an ID.
type Unknown struct {
	Head `msgpack:",inline"`
}

func (m *Unknown) kind() Type { return m.Type }

// Hello is the first message in each direction. The version of the connection
// is the highest one in both ranges.
type Hello struct {
	Head     `msgpack:",inline"`
	Min      int      `msgpack:"min"`                // lowest protocol version spoken
	Max      int      `msgpack:"max"`                // highest protocol version spoken
	Features []string `msgpack:"features,omitempty"` // what it can beyond the base protocol
	Version  string   `msgpack:"version,omitempty"`  // of the software, for people
	OS       string   `msgpack:"os,omitempty"`       // GOOS
	Arch     string   `msgpack:"arch,omitempty"`     // GOARCH
	BootID   string   `msgpack:"boot_id,omitempty"`  // the agent's kernel's, /proc/sys/kernel/random/boot_id
	Resumes  uint64   `msgpack:"resumes,omitempty"`  // the agent's: how many times [Reseed] has succeeded since it started

	// AgentID is the agent's: 16 random bytes, new at each start of the agent
	// and at each successful [Reseed].
	AgentID []byte `msgpack:"agent_id,omitempty"`
}

// Features that an agent names in [Hello]. A host sends what belongs to one
// only after the agent has named it.
const (
	// FeatureExecs is [Execs], and the handle of [Kill].
	FeatureExecs = "execs"
)

func (*Hello) kind() Type { return TypeHello }

func (m *Hello) set(key string, f *fields) {
	switch key {
	case "min":
		m.Min = f.integer()
	case "max":
		m.Max = f.integer()
	case "features":
		m.Features = f.texts()
	case "version":
		m.Version = f.text()
	case "os":
		m.OS = f.text()
	case "arch":
		m.Arch = f.text()
	case "boot_id":
		m.BootID = f.text()
	case "resumes":
		m.Resumes = f.count()
	case "agent_id":
		m.AgentID = f.bytes()
	default:
		f.skip()
	}
}

// newMessage returns an empty message of type t, or nil where t is not known.
func newMessage(t Type) Message {
	switch t {
	case TypeHello:
		return new(Hello)
	case TypeExec:
		return new(Exec)
	case TypeSignal:
		return new(Signal)
	case TypeResize:
		return new(Resize)
	case TypeKill:
		return new(Kill)
	case TypePing:
		return new(Ping)
	case TypeInfo:
		return new(Info)
	case TypeReseed:
		return new(Reseed)
	case TypeForward:
		return new(Forward)
	case TypeExecs:
		return new(Execs)
	case TypeStarted:
		return new(Started)
	case TypeExited:
		return new(Exited)
	case TypeDone:
		return new(Done)
	case TypeError:
		return new(Error)
	default:
		return nil
	}
}
