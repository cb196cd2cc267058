package wire

import "fmt"

// A Step is what has become of one step of a [Reseed].
type Step struct {
	Name    string    `msgpack:"name"`
	Changed bool      `msgpack:"changed,omitempty"` // the guest is not as it was
	Kind    ErrorKind `msgpack:"kind,omitempty"`    // of what went wrong; empty: nothing
	Message string    `msgpack:"message,omitempty"` // for people: what went wrong, or why nothing was changed
}

func (f *fields) steps() []Step {
	n, err := f.d.DecodeArrayLen() // of nil: -1
	f.note(err)
	if f.err != nil || n < 0 {
		return nil
	}
	if n > maxSteps {
		f.note(fmt.Errorf("%d steps: want at most %d", n, maxSteps))
		return nil
	}
	list := make([]Step, 0, n)
	for ; n > 0 && f.err == nil; n-- {
		var s Step
		if !f.null() {
			f.each(func(key string) { s.set(key, f) })
		}
		list = append(list, s)
	}
	return list
}

// maxSteps is more than there will ever be. A message has room for very many,
// which take far more memory than bytes on the wire.
const maxSteps = 1024

func (s *Step) set(key string, f *fields) {
	switch key {
	case "name":
		s.Name = f.text()
	case "changed":
		s.Changed = f.flag()
	case "kind":
		s.Kind = ErrorKind(f.text())
	case "message":
		s.Message = f.text()
	default:
		f.skip()
	}
}
