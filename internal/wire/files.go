package wire

// Files starts a process that reads, writes or changes files of the guest with the rights of a
// user. It is answered as an [Exec] is. Frames go over both streams: docs/protocol.md,
// section 13.
type Files struct {
	Head

	Op   string // stat, list, push, pull, mkdir, remove or rename
	Path string // relative: to the user's home, else /
	To   string // of rename: the new path
	User string // as in Exec

	// The yamux ids of the streams that the host has opened.
	Stdin  uint32 // frames from the host
	Stdout uint32 // frames from the guest
}

func (*Files) kind() Type { return TypeFiles }

func (m *Files) fields(f *fields) {
	m.Head.fields(f)
	text(f, "op", &m.Op, always)
	text(f, "path", &m.Path, always)
	text(f, "to", &m.To, filled)
	text(f, "user", &m.User, filled)
	natural(f, "stdin", &m.Stdin, always)
	natural(f, "stdout", &m.Stdout, always)
}
