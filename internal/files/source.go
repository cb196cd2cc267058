package files

import "strings"

// A source is what a host has asked a guest for. The guest must not choose the name under
// which it comes: it could be that of another file of the destination.
type source struct {
	name string // empty: the content of a directory
	seen bool   // it has come
}

// sourceAt returns the source at a path of the guest.
func sourceAt(path string) *source {
	base := strings.TrimRight(path, "/")
	base = base[strings.LastIndexByte(base, '/')+1:]
	if base == "." || base == ".." {
		base = ""
	}
	return &source{name: base}
}

// check returns an error if f, the first frame of an entry, is not about the source. It is
// called for entries outside directories only.
func (s *source) check(f *Frame) error {
	switch {
	case s == nil:
		return nil
	case s.seen:
		return broken("more than one source: %q", f.Name)
	case f.Content != (s.name == ""), !f.Content && f.Name != s.name:
		return broken("%q comes instead of %q", f.Name, s.name)
	}
	s.seen = true
	return nil
}
