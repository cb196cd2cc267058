package wire_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func TestEveryMessageComesBackAsItWasSent(t *testing.T) {
	var stream bytes.Buffer
	for seed := range uint64(3000) {
		sent := randomMessage(rand.New(rand.NewPCG(seed, 0)))
		if err := wire.Write(&stream, sent); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		got, err := wire.Read(&stream)
		if err != nil {
			t.Fatalf("seed %d: %+v: %v", seed, sent, err)
		}
		if diff := cmp.Diff(sent, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("seed %d (-sent +got)\n%s", seed, diff)
		}
	}
}

// randomMessage returns a message of a random type, its fields at random, and
// often at their limits.
func randomMessage(r *rand.Rand) wire.Message {
	all := []wire.Message{
		new(wire.Hello), new(wire.Exec), new(wire.Signal), new(wire.Resize), new(wire.Kill), new(wire.Ping),
		new(wire.Info), new(wire.Reseed), new(wire.Forward), new(wire.Execs),
		new(wire.Attach), new(wire.Acked), new(wire.Leave), new(wire.Release), new(wire.Listen), new(wire.Accept),
		new(wire.Started), new(wire.Exited), new(wire.Done), new(wire.Error),
	}
	m := all[r.IntN(len(all))]
	fill(r, reflect.ValueOf(m).Elem())
	return m
}

func fill(r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i))
		}
	case reflect.Pointer:
		if r.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, v.Elem())
		}
	case reflect.Slice:
		n := r.IntN(4)
		if r.IntN(8) == 0 {
			n = r.IntN(300)
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(r, v.Index(i))
		}
	case reflect.String:
		v.SetString(randomString(r))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int:
		v.SetInt(randomInt(r) >> 32) // numbers with a sign have 32 bits
	default:
		v.SetUint(uint64(randomInt(r)) >> (64 - v.Type().Bits()))
	}
}

func randomString(r *rand.Rand) string {
	lengths := []int{0, 1, 31, 32, 255, 256, r.IntN(20), r.IntN(1000)}
	b := make([]byte, lengths[r.IntN(len(lengths))])
	for i := range b {
		b[i] = byte(r.Uint32()) // mostly no UTF-8
	}
	return string(b)
}

// randomInt returns a number near a border between two formats, or any.
func randomInt(r *rand.Rand) int64 {
	switch r.IntN(4) {
	case 0:
		return int64(r.Uint64())
	case 1:
		return []int64{0, math.MinInt64, math.MaxInt64, -1}[r.IntN(4)]
	default:
		near := int64(1)<<r.IntN(63) + int64(r.IntN(3)) - 1
		if r.IntN(2) == 0 {
			return -near
		}
		return near
	}
}
