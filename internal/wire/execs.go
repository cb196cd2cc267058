package wire

import "fmt"

// Execs asks which execs run, on whatever connection. It is answered by [Done]
// with its Execs. An agent lists those of hosts of the asking host's class alone.
type Execs struct {
	Head `msgpack:",inline"`
}

func (*Execs) kind() Type { return TypeExecs }

// An ExecList is the answer to [Execs].
type ExecList struct {
	Running []ExecState `msgpack:"running,omitempty"` // the oldest first, at most [MaxExecs]
	More    uint64      `msgpack:"more,omitempty"`    // how many others run
}

// MaxExecs is how many execs one answer lists.
const MaxExecs = 8192

// An ExecState describes an exec that runs.
type ExecState struct {
	Handle    []byte `msgpack:"handle"` // as in [Started]
	PID       int    `msgpack:"pid"`    // in the guest
	Command   string `msgpack:"command,omitempty"`
	User      string `msgpack:"user,omitempty"` // as the request or the agent's policy names it; empty: the agent's own
	TTY       bool   `msgpack:"tty,omitempty"`
	Keep      bool   `msgpack:"keep,omitempty"`      // it lives on when its connection ends
	Connected bool   `msgpack:"connected,omitempty"` // its connection has not ended
	RunningMS uint64 `msgpack:"running_ms"`          // for how long it has run, milliseconds
}

func (f *fields) execs() *ExecList {
	if f.null() {
		return nil
	}
	l := new(ExecList)
	f.each(func(key string) { l.set(key, f) })
	return l
}

func (l *ExecList) set(key string, f *fields) {
	switch key {
	case "running":
		l.Running = f.execStates()
	case "more":
		l.More = f.count()
	default:
		f.skip()
	}
}

func (f *fields) execStates() []ExecState {
	n, err := f.d.DecodeArrayLen() // of nil: -1
	f.note(err)
	if f.err != nil || n < 0 {
		return nil
	}
	if n > MaxExecs {
		f.note(fmt.Errorf("%d execs: want at most %d", n, MaxExecs))
		return nil
	}
	list := make([]ExecState, 0, n)
	for ; n > 0 && f.err == nil; n-- {
		var e ExecState
		if !f.null() {
			f.each(func(key string) { e.set(key, f) })
		}
		list = append(list, e)
	}
	return list
}

func (e *ExecState) set(key string, f *fields) {
	switch key {
	case "handle":
		e.Handle = f.bytes()
	case "pid":
		e.PID = f.integer()
	case "command":
		e.Command = f.text()
	case "user":
		e.User = f.text()
	case "tty":
		e.TTY = f.flag()
	case "keep":
		e.Keep = f.flag()
	case "connected":
		e.Connected = f.flag()
	case "running_ms":
		e.RunningMS = f.count()
	default:
		f.skip()
	}
}
