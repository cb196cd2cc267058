package client

import (
	"bytes"
	"errors"
	"os"
	"testing"
)

// A watchedMemory says when it is looked at.
type watchedMemory struct {
	*bytes.Buffer
	looked func()
}

func (m watchedMemory) Available() int {
	m.looked()
	return m.Buffer.Available()
}

// A buffer that is the caller's again is not even looked at.
func TestAbandonedBufferIsLeftAlone(t *testing.T) {
	var buffer bytes.Buffer
	o := &outputCopy{to: &buffer, cmd: new(Cmd)}
	looks := 0
	out := growingOutput{o, watchedMemory{&buffer, func() {
		looks++
		if o.state.Load() != writing {
			t.Errorf("it is looked at in state %d, want %d", o.state.Load(), writing)
		}
	}}}
	if n, err := out.TryWrite([]byte("hello")); n != 5 || err != nil || looks != 1 {
		t.Errorf("%d bytes, %v, after %d looks", n, err, looks)
	}
	o.state.Store(abandoned)
	if n, err := out.TryWrite([]byte("more")); n != 0 || !errors.Is(err, os.ErrClosed) || looks != 1 {
		t.Errorf("%d bytes, %v, after %d looks", n, err, looks)
	}
	if buffer.String() != "hello" {
		t.Errorf("the buffer has %q, want %q", buffer.String(), "hello")
	}
}
