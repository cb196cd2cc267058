package wire

// KeysOf returns the names on the wire of a message's fields.
func KeysOf(m Message) []string { return keysOf(m) }

func keysOf(r record) []string {
	f := fields{mode: naming}
	r.fields(&f)
	return f.names
}

// AllKeys returns the names of the fields of every message, and of the maps in them.
func AllKeys() []string {
	var keys []string
	for _, v := range verbs {
		keys = append(keys, keysOf(v.make())...)
	}
	for _, r := range []record{&TTY{}, &Limits{}, &Guest{}, &Agent{}, &ExecList{}, &ExecState{}, &Step{}, &Network{}, &Interface{}, &Route{}, &DNS{}, &HostEntry{}} {
		keys = append(keys, keysOf(r)...)
	}
	return keys
}
