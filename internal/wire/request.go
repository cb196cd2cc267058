package wire

// Signal sends a signal to a running process. It is answered by [Done] or [Error].
type Signal struct {
	Head
	Exec   uint64 // the id of the exec
	Signal string // a name such as TERM or SIGTERM, or a number

	// Handle names an exec of any connection, as that of [Kill] does.
	Handle []byte
}

func (*Signal) kind() Type { return TypeSignal }

func (m *Signal) fields(f *fields) {
	m.Head.fields(f)
	natural(f, "exec", &m.Exec, always)
	text(f, "signal", &m.Signal, always)
	octets(f, "handle", &m.Handle, filled)
}

// Resize changes the size of the terminal of a running process, whose
// foreground job gets SIGWINCH. It is answered by [Done] or [Error].
type Resize struct {
	Head
	Exec uint64 // the id of the exec
	Rows uint16
	Cols uint16

	WidthPX, HeightPX uint16 // of the whole window, in pixels; 0: not known
}

func (*Resize) kind() Type { return TypeResize }

func (m *Resize) fields(f *fields) {
	m.Head.fields(f)
	natural(f, "exec", &m.Exec, always)
	natural(f, "rows", &m.Rows, always)
	natural(f, "cols", &m.Cols, always)
	natural(f, "width_px", &m.WidthPX, filled)
	natural(f, "height_px", &m.HeightPX, filled)
}

// Kill ends a process and everything that it started: first SIGTERM, after a
// grace SIGKILL. Of a [Forward] it ends the connection, once what the host has
// sent has been written. It is answered by [Done], at once, or [Error]; the
// process itself is still answered for by [Exited], the forward by [Done].
type Kill struct {
	Head
	Exec  uint64 // the id of the exec, or the forward; 0 with a handle
	Force bool   // SIGKILL, or the connection's end, at once

	// Handle names an exec of any connection, as [Started] and [Execs] do. Empty:
	// the exec is one of this connection.
	Handle []byte
}

func (*Kill) kind() Type { return TypeKill }

func (m *Kill) fields(f *fields) {
	m.Head.fields(f)
	natural(f, "exec", &m.Exec, always)
	flag(f, "force", &m.Force)
	octets(f, "handle", &m.Handle, filled)
}

// Ping is answered by [Done].
type Ping struct {
	Head
}

func (*Ping) kind() Type { return TypePing }

// Info asks what guest this is. It is answered by [Done] with its Guest.
type Info struct {
	Head
}

func (*Info) kind() Type { return TypeInfo }

// Reseed makes a clone of a snapshot a machine of its own. The agent answers
// when it has tried every step: with [Done], or with [Error] if a step has
// failed. Both report the outcome of each step.
type Reseed struct {
	Head

	// Entropy is credited to the kernel's random number generator, which is
	// then reseeded: 16 to 512 bytes of the host's.
	Entropy []byte

	MachineID bool   // write a new /etc/machine-id
	ClockNS   uint64 // what the wall clock is to say when this arrives, nanoseconds since 1970-01-01 UTC; 0: leave it
	ClockBack bool   // set the clock though that means back
	Hostname  string // empty: leave it
	SSHKeys   bool   // make new host keys for sshd

	Network *Network // nil: leave it
}

func (*Reseed) kind() Type { return TypeReseed }

func (m *Reseed) fields(f *fields) {
	m.Head.fields(f)
	octets(f, "entropy", &m.Entropy, always)
	flag(f, "machine_id", &m.MachineID)
	natural(f, "clock_ns", &m.ClockNS, filled)
	flag(f, "clock_back", &m.ClockBack)
	text(f, "hostname", &m.Hostname, filled)
	flag(f, "ssh_keys", &m.SSHKeys)
	nested(f, "network", &m.Network, filled)
}
