package local

// A User is whom a connection is made as.
type User struct {
	UID, GID uint32
	Groups   []uint32 // all of them, the primary one too
}
