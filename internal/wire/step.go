package wire

// A Step is what has become of one step of a [Reseed], a [Quiesce] or a [Thaw].
type Step struct {
	Name    string
	Changed bool      // the guest is not as it was
	Kind    ErrorKind // of what went wrong; empty: nothing
	Message string    // for people: what went wrong, or why nothing was changed
}

// maxSteps is more than there will ever be. A message has room for very many,
// which take far more memory than bytes on the wire.
const maxSteps = 1024

func (s *Step) fields(f *fields) {
	text(f, "name", &s.Name, always)
	flag(f, "changed", &s.Changed)
	text(f, "kind", &s.Kind, filled)
	text(f, "message", &s.Message, filled)
}
