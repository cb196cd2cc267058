package client

import (
	"reflect"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
)

// A stdio is one standard stream of a command, as it is on the wire.
type stdio struct{ *mux.Stream } // nil: not wanted

func (s stdio) id() uint32 {
	if s.Stream == nil {
		return 0
	}
	return s.ID()
}

// streams are the standard streams of a command. stderr may be stdout.
type streams struct{ stdin, stdout, stderr stdio }

// open opens what cmd wants.
func (s *streams) open(m *mux.Session, cmd *Cmd) error {
	var err error
	open := func(wanted bool, to *stdio) {
		if wanted && err == nil {
			to.Stream, err = m.Open()
		}
	}
	open(cmd.Stdin != nil, &s.stdin)
	open(cmd.Stdout != nil, &s.stdout)
	if cmd.attach == nil && sameWriter(cmd.Stdout, cmd.Stderr) {
		s.stderr = s.stdout
	} else {
		open(cmd.Stderr != nil, &s.stderr)
	}
	return err
}

// all returns those that there are.
func (s *streams) all() []*mux.Stream {
	var all []*mux.Stream
	for _, stream := range []stdio{s.stdin, s.stdout, s.stderr} {
		if stream.Stream != nil {
			all = append(all, stream.Stream)
		}
	}
	return all
}

// sameWriter says whether a and b are equal. Writers that cannot be compared are not.
func sameWriter(a, b any) bool {
	return a != nil && b != nil && reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}
