package wire

// Signal sends a signal to a running process. It is answered by [Done] or [Error].
type Signal struct {
	Head   `msgpack:",inline"`
	Exec   uint64 `msgpack:"exec"`   // the id of the exec
	Signal string `msgpack:"signal"` // a name such as TERM or SIGTERM, or a number
}

func (*Signal) kind() Type { return TypeSignal }

func (m *Signal) set(key string, f *fields) {
	switch key {
	case "exec":
		m.Exec = f.count()
	case "signal":
		m.Signal = f.text()
	default:
		f.skip()
	}
}

// Resize changes the size of the terminal of a running process, whose
// foreground job gets SIGWINCH. It is answered by [Done] or [Error].
type Resize struct {
	Head `msgpack:",inline"`
	Exec uint64 `msgpack:"exec"` // the id of the exec
	Rows uint16 `msgpack:"rows"`
	Cols uint16 `msgpack:"cols"`
}

func (*Resize) kind() Type { return TypeResize }

func (m *Resize) set(key string, f *fields) {
	switch key {
	case "exec":
		m.Exec = f.count()
	case "rows":
		m.Rows = f.cells()
	case "cols":
		m.Cols = f.cells()
	default:
		f.skip()
	}
}

// Kill ends a process and everything that it started: first SIGTERM, after a
// grace SIGKILL. Of a [Forward] it ends the connection, once what the host has
// sent has been written. It is answered by [Done], at once, or [Error]; the
// process itself is still answered for by [Exited], the forward by [Done].
type Kill struct {
	Head  `msgpack:",inline"`
	Exec  uint64 `msgpack:"exec"`            // the id of the exec, or the forward; 0 with a handle
	Force bool   `msgpack:"force,omitempty"` // SIGKILL, or the connection's end, at once

	// Handle names an exec of any connection, as [Started] and [Execs] do. Empty:
	// the exec is one of this connection.
	Handle []byte `msgpack:"handle,omitempty"`
}

func (*Kill) kind() Type { return TypeKill }

func (m *Kill) set(key string, f *fields) {
	switch key {
	case "exec":
		m.Exec = f.count()
	case "force":
		m.Force = f.flag()
	case "handle":
		m.Handle = f.bytes()
	default:
		f.skip()
	}
}

// Ping is answered by [Done].
type Ping struct {
	Head `msgpack:",inline"`
}

func (*Ping) kind() Type { return TypePing }

// Info asks what guest this is. It is answered by [Done] with its Guest.
type Info struct {
	Head `msgpack:",inline"`
}

func (*Info) kind() Type { return TypeInfo }

// Reseed makes a clone of a snapshot a machine of its own. It is answered when
// all of it has been tried: by [Done], or by [Error] where a step has failed.
// Both say what has become of each step.
type Reseed struct {
	Head `msgpack:",inline"`

	// Entropy is credited to the kernel's random number generator, which is
	// then reseeded: 16 to 512 bytes of the host's.
	Entropy []byte `msgpack:"entropy"`

	MachineID bool   `msgpack:"machine_id,omitempty"` // write a new /etc/machine-id
	ClockNS   uint64 `msgpack:"clock_ns,omitempty"`   // what the wall clock is to say when this arrives, nanoseconds since 1970-01-01 UTC; 0: leave it
	ClockBack bool   `msgpack:"clock_back,omitempty"` // set the clock though that means back
	Hostname  string `msgpack:"hostname,omitempty"`   // empty: leave it
	SSHKeys   bool   `msgpack:"ssh_keys,omitempty"`   // make new host keys for sshd
}

func (*Reseed) kind() Type { return TypeReseed }

func (m *Reseed) set(key string, f *fields) {
	switch key {
	case "entropy":
		m.Entropy = f.bytes()
	case "machine_id":
		m.MachineID = f.flag()
	case "clock_ns":
		m.ClockNS = f.count()
	case "clock_back":
		m.ClockBack = f.flag()
	case "hostname":
		m.Hostname = f.text()
	case "ssh_keys":
		m.SSHKeys = f.flag()
	default:
		f.skip()
	}
}
