package wire

// Quiesce has the guest hold still for a snapshot or a copy of its disks, until a [Thaw], or until
// the time is over. It is answered by [Done] with Steps, or by [Error], with Steps if they
// were tried: then all goes on.
type Quiesce struct {
	Head
	TimeoutMS   uint64 // for how long at most, milliseconds; 0: 10 s
	FreezeExecs bool   // the processes of execs stop
	FreezeFS    bool   // the file systems are frozen
}

// MaxQuiesceMS is the most that TimeoutMS may be.
const MaxQuiesceMS = 600_000

func (*Quiesce) kind() Type { return TypeQuiesce }

func (m *Quiesce) fields(f *fields) {
	m.Head.fields(f)
	natural(f, "timeout_ms", &m.TimeoutMS, filled)
	flag(f, "freeze_execs", &m.FreezeExecs)
	flag(f, "freeze_fs", &m.FreezeFS)
}

// Thaw ends a [Quiesce], on whatever connection that came. It is answered by [Done] with Thawed
// and Steps.
type Thaw struct {
	Head
}

func (*Thaw) kind() Type { return TypeThaw }

// Thawed says how the latest [Quiesce] has ended.
type Thawed struct {
	Held bool   // the guest has held still until this request
	By   string // otherwise: what has ended it before, for people; empty: there was none
	MS   uint64 // how long it has held still, milliseconds
}

func (t *Thawed) fields(f *fields) {
	flag(f, "held", &t.Held)
	text(f, "by", &t.By, filled)
	natural(f, "ms", &t.MS, filled)
}
