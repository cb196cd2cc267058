package wire

// KeysOf returns the names on the wire of a message's fields.
func KeysOf(m Message) []string {
	f := fields{mode: naming}
	m.fields(&f)
	return f.names
}
