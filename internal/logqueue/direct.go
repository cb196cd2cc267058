package logqueue

// A direct writes to a file and never blocks.
type direct struct {
	write    func(p []byte) (int, error)
	closeOwn func() error // closes a descriptor of its own; nil: it has none
}

// close may be called on nil.
func (d *direct) close() {
	if d != nil && d.closeOwn != nil {
		_ = d.closeOwn()
	}
}
