//go:build linux

package session_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// asked are the requests that FuzzPolicy makes: each verb, and others.
var asked = append(denialTypes(), wire.TypePing, "fly", wire.TypeStarted, wire.TypeHello)

// FuzzPolicy tries any policy with requests that state their type and id once or twice,
// in any way. The last one counts, and it alone decides whether a request is denied,
// answered, or the end of the connection.
func FuzzPolicy(f *testing.F) {
	f.Add(uint16(0), []byte{0, 0, 1, 1})
	f.Add(uint16(0xffff), []byte{0, 1, 1, 1, 1, 2, 2, 2})
	f.Add(uint16(0b1010101), []byte{3, 3, 0, 9, 2, 4, 7, 0})
	f.Add(uint16(8), []byte{9, 9, 1, 1, 10, 10, 2, 2})
	a := openArena(f)
	f.Fuzz(func(t *testing.T, mask uint16, ops []byte) {
		var policy session.Policy
		for i, verb := range session.Verbs() {
			if mask&(1<<i) != 0 {
				policy.Denied = append(policy.Denied, verb)
			}
		}
		m := a.matchWith(t, nil, func(c *session.Config) { c.Policy = policy })
		h := greetedBy(t, m.host)
		h.send(&wire.Hello{Min: 2, Max: 2})
		for ; len(ops) >= 4; ops = ops[4:] {
			types := [2]wire.Type{asked[int(ops[0])%len(asked)], asked[int(ops[1])%len(asked)]}
			if !judge(t, h, policy, types, [2]uint64{uint64(ops[2]), uint64(ops[3])}) {
				break
			}
		}
		m.end(false)
	})
}

// judge sends one message with two types and two ids, and says whether the
// connection goes on.
func judge(t *testing.T, h *host, policy session.Policy, types [2]wire.Type, ids [2]uint64) bool {
	t.Helper()
	if _, err := h.control.Write(twice(types, ids)); err != nil {
		t.Fatal(err)
	}
	verb, id := types[1], ids[1]
	if id == 0 || verb == wire.TypeStarted || verb == wire.TypeHello {
		wantError(t, h.lose(), 0, wire.BadRequest, "protocol violation")
		return false
	}
	answer := h.receive()
	if _, got := wire.About(answer); got != id {
		t.Fatalf("%s %d was answered with the id %d", verb, id, got)
	}
	e, _ := answer.(*wire.Error)
	denied := e != nil && e.Kind == wire.PermissionDenied
	if want := slices.Contains(policy.Denied, wire.PolicyOf(verb)) && !malformed(verb); denied != want {
		t.Fatalf("%s %d denied = %t (%+v), want %t: the policy denies %q", verb, id, denied, answer, want, policy.Denied)
	}
	return true
}

// malformed says whether a request of that type without any field is answered for
// its form, before the policy is asked.
func malformed(verb wire.Type) bool {
	switch verb {
	case wire.TypeSignal, wire.TypeResize, wire.TypeForward, wire.TypeAttach, wire.TypeRelease, wire.TypeListen, wire.TypeAccept, wire.TypeFiles:
		return true
	default:
		return false
	}
}

// twice is a message with two types and two ids, framed.
func twice(types [2]wire.Type, ids [2]uint64) []byte {
	var body bytes.Buffer
	text := func(s string) {
		body.WriteByte(0xa0 | byte(len(s))) // fixstr
		body.WriteString(s)
	}
	body.WriteByte(0x84) // fixmap of 4
	for i := range types {
		text("id")
		body.WriteByte(0xcf) // uint 64
		body.Write(binary.BigEndian.AppendUint64(nil, ids[i]))
		text("type")
		text(string(types[i]))
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(body.Len())), body.Bytes()...)
}
