package wire

import (
	"errors"
	"fmt"
	"math"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// fields reads the entries of one map, and keeps the first error. It is
// stricter than decoding into a struct, which cuts a number that does not fit
// to its low bits: those would name another stream, or another request.
// A value of nil is taken for a field that is not there.
type fields struct {
	d   *msgpack.Decoder
	err error
}

// each calls set with the key of every entry; set reads the value.
func (f *fields) each(set func(key string)) {
	n, err := f.d.DecodeMapLen()
	f.note(err)
	for ; n > 0 && f.err == nil; n-- {
		set(f.text())
	}
}

func (f *fields) note(err error) {
	if f.err == nil && err != nil {
		f.err = malformed("%v", err)
	}
}

func (f *fields) skip() { f.note(f.d.Skip()) }

// null says whether the value is nil, and takes it if so.
func (f *fields) null() bool {
	code, err := f.d.PeekCode()
	f.note(err)
	if code != msgpcode.Nil {
		return false
	}
	f.note(f.d.DecodeNil())
	return true
}

func (f *fields) text() string {
	s, err := f.d.DecodeString() // of nil: ""
	f.note(err)
	return s
}

func (f *fields) texts() []string {
	n, err := f.d.DecodeArrayLen() // of nil: -1
	f.note(err)
	if f.err != nil || n < 0 {
		return nil
	}
	list := make([]string, 0, n) // check has seen that as many are there
	for ; n > 0 && f.err == nil; n-- {
		list = append(list, f.text())
	}
	return list
}

func (f *fields) bytes() []byte {
	b, err := f.d.DecodeBytes() // of nil: nil
	f.note(err)
	return b
}

func (f *fields) flag() bool {
	b, err := f.d.DecodeBool() // of nil: false
	f.note(err)
	return b
}

func (f *fields) count() uint64 { return f.natural(math.MaxUint64) }

// natural reads a whole number of 0 to most.
func (f *fields) natural(most uint64) uint64 {
	n, negative := f.number()
	if negative || n > most {
		f.note(fmt.Errorf("a number is not within 0 to %d", most))
	}
	return n
}

// integer reads a whole number of 32 bits, of which one is the sign.
func (f *fields) integer() int {
	n, negative := f.number()
	if !negative && n > math.MaxInt32 || negative && int64(n) < math.MinInt32 {
		f.note(errors.New("a number takes more than 32 bits"))
	}
	return int(n)
}

// number reads a whole number; a negative one comes as its two's complement.
func (f *fields) number() (n uint64, negative bool) {
	code, err := f.d.PeekCode()
	f.note(err)
	signed := code >= msgpcode.Int8 && code <= msgpcode.Int64 || code >= msgpcode.NegFixedNumLow
	n, err = f.d.DecodeUint64() // of nil: 0
	f.note(err)
	return n, signed && int64(n) < 0
}
