package wire

import (
	"errors"
	"fmt"
	"math"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// fields goes through the fields of one message, or of a map within one. Each
// message names its fields once, in their order on the wire; what is done with
// them depends on the mode:
//
//   - counting: how many will be written
//   - writing: their keys and values are written
//   - reading: the value of the entry that has been reached goes to the field
//     with its key
//   - naming: their keys are collected, for tests
//
// Decoding into a struct would cut a number that does not fit to its low bits.
// Those would name another stream or another request, so fields rejects such a
// number. nil stands for a field that is not there. The first error is kept.
type fields struct {
	mode mode
	n    int              // counting
	e    *msgpack.Encoder // writing
	d    *msgpack.Decoder // reading
	key  string           // reading: of the entry; its value has not been read
	read bool             // reading: its value has been

	names []string // naming
	err   error
}

type mode int

const (
	counting mode = iota
	writing
	reading
	naming
)

// A presence says when a field is written.
type presence int

const (
	always presence = iota
	filled          // if it is not 0, empty, false or nil
)

// A record is what has fields.
type record interface{ fields(f *fields) }

// write writes the map of r.
func (f *fields) write(r record) {
	count := fields{mode: counting}
	r.fields(&count)
	f.note(f.e.EncodeMapLen(count.n))
	r.fields(f)
}

// readInto reads a map into r. Entries that r has no field for are skipped.
func (f *fields) readInto(r record) {
	n, err := f.d.DecodeMapLen()
	f.note(err)
	for ; n > 0 && f.err == nil; n-- {
		key := f.readText()
		f.key, f.read = key, false
		r.fields(f)
		if !f.read {
			f.note(f.d.Skip())
		}
	}
	f.read = true // the map is the value of an entry of its own, if it is within another
}

// field says whether to handle a field: to write its value, or to read it.
func (f *fields) field(key string, p presence, empty bool) bool {
	if f.err != nil {
		return false
	}
	switch f.mode {
	case reading:
		if f.read || f.key != key {
			return false
		}
		f.read = true
		return true
	case counting:
		if p == always || !empty {
			f.n++
		}
		return false
	case naming:
		f.names = append(f.names, key)
		return false
	default:
		if p == filled && empty {
			return false
		}
		f.note(f.e.EncodeString(key))
		return true
	}
}

func (f *fields) note(err error) {
	if f.err == nil && err != nil {
		f.err = err
		if f.mode == reading {
			f.err = malformed("%v", err)
		}
	}
}

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

func text[T ~string](f *fields, key string, v *T, p presence) {
	switch {
	case !f.field(key, p, *v == ""):
	case f.mode == reading:
		*v = T(f.readText())
	default:
		f.note(f.e.EncodeString(string(*v)))
	}
}

func (f *fields) readText() string {
	s, err := f.d.DecodeString() // of nil: ""
	f.note(err)
	return s
}

func texts(f *fields, key string, v *[]string, p presence) {
	switch {
	case !f.field(key, p, len(*v) == 0):
	case f.mode == reading:
		*v = f.readTexts()
	case *v == nil:
		f.note(f.e.EncodeNil())
	default:
		f.note(f.e.EncodeArrayLen(len(*v)))
		for _, s := range *v {
			f.note(f.e.EncodeString(s))
		}
	}
}

func (f *fields) readTexts() []string {
	n, err := f.d.DecodeArrayLen() // of nil: -1
	f.note(err)
	if f.err != nil || n < 0 {
		return nil
	}
	list := make([]string, 0, n) // check has seen that as many are there
	for ; n > 0 && f.err == nil; n-- {
		list = append(list, f.readText())
	}
	return list
}

func octets(f *fields, key string, v *[]byte, p presence) {
	switch {
	case !f.field(key, p, len(*v) == 0):
	case f.mode == reading:
		b, err := f.d.DecodeBytes() // of nil: nil
		f.note(err)
		*v = b
	default:
		f.note(f.e.EncodeBytes(*v))
	}
}

// flag is written if it is true.
func flag(f *fields, key string, v *bool) {
	switch {
	case !f.field(key, filled, !*v):
	case f.mode == reading:
		b, err := f.d.DecodeBool() // of nil: false
		f.note(err)
		*v = b
	default:
		f.note(f.e.EncodeBool(*v))
	}
}

// natural is a whole number of 0 to the largest that T holds.
func natural[T uint16 | uint32 | uint64](f *fields, key string, v *T, p presence) {
	switch {
	case !f.field(key, p, *v == 0):
	case f.mode == reading:
		n, negative := f.readNumber()
		if negative || n > uint64(^T(0)) {
			f.note(fmt.Errorf("number out of range 0 to %d", ^T(0)))
		}
		*v = T(n)
	default:
		f.note(f.e.EncodeUint(uint64(*v)))
	}
}

// optional is a natural for which 0 is not the same as none.
func optional(f *fields, key string, v **uint64) {
	switch {
	case !f.field(key, filled, *v == nil):
	case f.mode != reading:
		f.note(f.e.EncodeUint(**v))
	case f.null():
		*v = nil
	default:
		n, negative := f.readNumber()
		if negative {
			f.note(errors.New("number below 0"))
		}
		*v = &n
	}
}

// integer is a whole number of 32 bits, one of them the sign.
func integer(f *fields, key string, v *int, p presence) {
	switch {
	case !f.field(key, p, *v == 0):
	case f.mode == reading:
		n, negative := f.readNumber()
		if !negative && n > math.MaxInt32 || negative && int64(n) < math.MinInt32 {
			f.note(errors.New("number exceeds 32 bits"))
		}
		*v = int(n)
	default:
		f.note(f.e.EncodeInt(int64(*v)))
	}
}

// readNumber reads a whole number; a negative one comes as its two's complement.
func (f *fields) readNumber() (n uint64, negative bool) {
	code, err := f.d.PeekCode()
	f.note(err)
	signed := code >= msgpcode.Int8 && code <= msgpcode.Int64 || code >= msgpcode.NegFixedNumLow
	n, err = f.d.DecodeUint64() // of nil: 0
	f.note(err)
	return n, signed && int64(n) < 0
}

// nested is a map, or nil.
func nested[T any, R interface {
	*T
	record
}](f *fields, key string, v *R, p presence) {
	switch {
	case !f.field(key, p, *v == nil):
	case f.mode != reading:
		f.write(*v)
	case !f.null():
		*v = new(T)
		f.readInto(*v)
	default:
		*v = nil
	}
}

// list is an array of at most most maps.
func list[T any, R interface {
	*T
	record
}](f *fields, key string, v *[]T, most int, p presence) {
	switch {
	case !f.field(key, p, len(*v) == 0):
	case f.mode == reading:
		*v = readList[T, R](f, key, most)
	default:
		f.note(f.e.EncodeArrayLen(len(*v)))
		for i := range *v {
			f.write(R(&(*v)[i]))
		}
	}
}

func readList[T any, R interface {
	*T
	record
}](f *fields, key string, most int) []T {
	n, err := f.d.DecodeArrayLen() // of nil: -1
	f.note(err)
	if f.err != nil || n < 0 {
		return nil
	}
	if n > most {
		f.note(fmt.Errorf("%d %s: want at most %d", n, key, most))
		return nil
	}
	all := make([]T, n)
	for i := range all {
		if f.err == nil && !f.null() {
			f.readInto(R(&all[i]))
		}
	}
	return all
}
