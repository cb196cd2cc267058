package proc

// A Note says how a process differs from what its [Spec] lets expect.
type Note string

// The notes. A process may have several.
const (
	// NoteHome says that the process has started in / because its user may not enter
	// the home: [Process.HomeError] has the reason.
	NoteHome Note = "home"

	// NoteNoCgroup says that the process has no cgroup: [Process.NoCgroup] has the reason.
	NoteNoCgroup Note = "no_cgroup"

	// NoteUnknownUID says that no list of users has the uid: the gid is equal to it, and
	// there are no other groups.
	NoteUnknownUID Note = "unknown_uid"
)
