package job

// A Ring is a ring of a memory of its own, for tests of rings without processes.
type Ring struct{ *ring }

// NewRing returns a Ring of at most limit bytes, for which the memory has room.
func NewRing(limit int, block bool) Ring {
	m := &memory{limit: limit + firstRing, evict: func() bool { return false }}
	return Ring{newRing(m, limit, block)}
}

// Used returns how many bytes of memory the ring has taken.
func (r Ring) Used() int { return r.memory.taken() }

// Reader returns a reader from an offset.
func (r Ring) Reader(at uint64) (*Reader, error) {
	d, behind := r.reader(From{}, at)
	if behind != nil {
		return nil, behind
	}
	return &Reader{d}, nil
}

// A Reader is a reader of a Ring.
type Reader struct{ *reader }

// Next waits for output and copies it to p.
func (r *Reader) Next(p []byte) (n int, done bool, err error) {
	r.wait()
	return r.next(p)
}

// Leave ends Next.
func (r *Reader) Leave() { r.leave() }

// Ack acknowledges output.
func (r Ring) Ack(offset uint64) { r.ack(offset) }

// Age makes the records of a table a day older.
func Age(t *Table) {
	for range recordAge {
		t.age()
	}
}
