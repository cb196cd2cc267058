package screen

// A Saved is a [Tracker] for another program that goes on with it.
type Saved struct {
	State      int    `json:",omitempty"`
	Parameters []byte `json:",omitempty"`
	TooLong    bool   `json:",omitempty"`

	Offset, Begun           uint64       `json:",omitempty"`
	Modes                   map[int]bool `json:",omitempty"`
	Charsets                [2]byte
	Shifted, Keypad, Insert bool        `json:",omitempty"`
	Region                  []byte      `json:",omitempty"`
	Cursor                  byte        `json:",omitempty"`
	Alternate               bool        `json:",omitempty"`
	Entered                 uint64      `json:",omitempty"`
	Past                    [][2]uint64 `json:",omitempty"`
}

// Save returns the Tracker's state. It shares no memory with the Tracker.
func (t *Tracker) Save() *Saved {
	s := &Saved{
		State: int(t.state), Parameters: append([]byte(nil), t.parameters...), TooLong: t.tooLong,
		Offset: t.offset, Begun: t.begun, Modes: make(map[int]bool, len(t.modes)),
		Charsets: t.charsets, Shifted: t.shifted, Keypad: t.keypad, Insert: t.insert,
		Region: append([]byte(nil), t.region...), Cursor: t.cursor, Alternate: t.alternate, Entered: t.entered,
	}
	for _, m := range t.modes {
		s.Modes[m.number] = m.set
	}
	for _, p := range t.past {
		s.Past = append(s.Past, [2]uint64{p.from, p.to})
	}
	return s
}

// Restore returns a Tracker in a state. It leaves out what is beyond a Tracker's bounds.
func Restore(s *Saved) *Tracker {
	t := &Tracker{
		state: state(s.State), parameters: s.Parameters, tooLong: s.TooLong, offset: s.Offset, begun: s.Begun,
		charsets: s.Charsets, shifted: s.Shifted, keypad: s.Keypad, insert: s.Insert,
		region: s.Region, cursor: s.Cursor, alternate: s.Alternate, entered: s.Entered,
	}
	if t.state < ground || t.state > skipOne {
		t.state = ground
	}
	if len(t.parameters) > maxParameters {
		t.parameters, t.tooLong = nil, true
	}
	if len(t.region) > maxParameters {
		t.region = nil
	}
	for number, set := range s.Modes {
		if len(t.modes) < maxModes {
			t.modes = append(t.modes, mode{number, set})
		}
	}
	for _, p := range s.Past {
		if len(t.past) < maxAlternates {
			t.past = append(t.past, segment{p[0], p[1]})
		}
	}
	return t
}
