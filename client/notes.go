package client

import "github.com/cocoonstack/cocoon-agent/internal/wire"

// Bounds of the notes that an agent may give.
const (
	maxNotes = 16
	maxNote  = 64 // bytes of each
)

// Notes returns what the agent says is unusual about the command, such as
// "unknown_uid". docs/protocol.md, section 3, lists the notes; a newer agent may have
// others. Notes is empty before Start, and as a rule.
func (c *Cmd) Notes() []string { return c.notes }

// notesOf returns the notes in m, as far as they make sense.
func notesOf(m *wire.Started) []string {
	var notes []string
	for _, note := range m.Notes[:min(len(m.Notes), maxNotes)] {
		notes = append(notes, printable(note, maxNote))
	}
	return notes
}
