package wire

// About returns what m asks for or says, and the id of the request that it is
// about.
func About(m Message) (Type, uint64) { return m.kind(), m.head().ID }
