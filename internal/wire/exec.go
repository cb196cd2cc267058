package wire

import "math"

// Exec starts a process. It is answered by [Error], and then nothing has run,
// or by [Started] and later [Exited].
type Exec struct {
	Head `msgpack:",inline"`

	// Argv is the command and its arguments. A command without a slash is
	// looked up in the PATH of the process's environment.
	Argv []string `msgpack:"argv"`

	// Env lists KEY=VALUE on top of the base environment, or, with ClearEnv,
	// is the whole environment. The last of equal keys counts.
	Env      []string `msgpack:"env,omitempty"`
	ClearEnv bool     `msgpack:"clear_env,omitempty"`

	Dir  string `msgpack:"dir,omitempty"`  // absolute; empty: the user's home, else /
	User string `msgpack:"user,omitempty"` // name, uid, name:group or uid:gid; empty: the agent's own
	TTY  *TTY   `msgpack:"tty,omitempty"`  // nil: no terminal

	// The yamux ids of the streams that the host has opened for this process.
	// 0: not wanted; stdin is then /dev/null, output is thrown away in the
	// guest. Stderr may be the same as Stdout: both then go through one pipe,
	// in the order in which they are written, and count as stdout.
	Stdin  uint32 `msgpack:"stdin,omitempty"`
	Stdout uint32 `msgpack:"stdout,omitempty"`
	Stderr uint32 `msgpack:"stderr,omitempty"`

	TimeoutMS    uint64       `msgpack:"timeout_ms,omitempty"` // 0: none
	OnDisconnect OnDisconnect `msgpack:"on_disconnect,omitempty"`
	Limits       *Limits      `msgpack:"limits,omitempty"` // nil: none
}

func (*Exec) kind() Type { return TypeExec }

func (m *Exec) set(key string, f *fields) {
	switch key {
	case "argv":
		m.Argv = f.texts()
	case "env":
		m.Env = f.texts()
	case "clear_env":
		m.ClearEnv = f.flag()
	case "dir":
		m.Dir = f.text()
	case "user":
		m.User = f.text()
	case "tty":
		m.TTY = f.terminal()
	case "stdin":
		m.Stdin = f.stream()
	case "stdout":
		m.Stdout = f.stream()
	case "stderr":
		m.Stderr = f.stream()
	case "timeout_ms":
		m.TimeoutMS = f.count()
	case "on_disconnect":
		m.OnDisconnect = OnDisconnect(f.text())
	case "limits":
		m.Limits = f.limits()
	default:
		f.skip()
	}
}

func (f *fields) stream() uint32 { return uint32(f.natural(math.MaxUint32)) }

// TTY asks for a terminal. Zero rows or columns stand for 24 and 80.
type TTY struct {
	Rows uint16 `msgpack:"rows,omitempty"`
	Cols uint16 `msgpack:"cols,omitempty"`
	Term string `msgpack:"term,omitempty"` // TERM; empty: xterm
}

func (f *fields) terminal() *TTY {
	if f.null() {
		return nil
	}
	t := new(TTY)
	f.each(func(key string) { t.set(key, f) })
	return t
}

func (t *TTY) set(key string, f *fields) {
	switch key {
	case "rows":
		t.Rows = f.cells()
	case "cols":
		t.Cols = f.cells()
	case "term":
		t.Term = f.text()
	default:
		f.skip()
	}
}

func (f *fields) cells() uint16 { return uint16(f.natural(math.MaxUint16)) }

// Limits bound what the whole process tree of an exec may use. 0: no limit.
// An agent that cannot set one refuses the exec.
type Limits struct {
	Memory   uint64 `msgpack:"memory,omitempty"`    // bytes
	PIDs     uint64 `msgpack:"pids,omitempty"`      // processes and threads at a time
	CPUMilli uint64 `msgpack:"cpu_milli,omitempty"` // thousandths of one CPU
}

func (f *fields) limits() *Limits {
	if f.null() {
		return nil
	}
	l := new(Limits)
	f.each(func(key string) { l.set(key, f) })
	return l
}

func (l *Limits) set(key string, f *fields) {
	switch key {
	case "memory":
		l.Memory = f.count()
	case "pids":
		l.PIDs = f.count()
	case "cpu_milli":
		l.CPUMilli = f.count()
	default:
		f.skip()
	}
}

// OnDisconnect says what becomes of a process whose connection is lost.
type OnDisconnect string

// What becomes of a process whose connection is lost.
const (
	DisconnectKill OnDisconnect = "kill" // its whole tree ends; "" means the same
	DisconnectKeep OnDisconnect = "keep" // it lives on, its output thrown away
)
