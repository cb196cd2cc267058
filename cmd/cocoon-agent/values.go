package main

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// A size is a number of bytes, 1 or more.
type size uint64

// UnmarshalText reads 1048576, 1024K, 1.5g or 256MiB. A unit is a power of 1,024,
// however it is written.
func (s *size) UnmarshalText(text []byte) error {
	want := fmt.Errorf("%q: want 1 or more bytes, such as 65536, 512K, 256M or 1.5G", text)
	digits, unit := string(text), ""
	if end := strings.IndexFunc(digits, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }); end >= 0 {
		digits, unit = digits[:end], strings.ToLower(digits[end:])
	}
	unit = strings.TrimSuffix(strings.TrimSuffix(unit, "b"), "i")
	power := strings.Index(" kmgt", unit)
	switch {
	case unit == "":
		power = 0
	case power < 1 || len(unit) > 1:
		return want
	}
	if n, err := strconv.ParseUint(digits, 10, 64); err == nil {
		if n == 0 || bits.Len64(n)+10*power > 64 {
			return want
		}
		*s = size(n << (10 * power))
		return nil
	}
	n, err := strconv.ParseFloat(digits, 64)
	n = math.Ldexp(n, 10*power)
	if err != nil || power == 0 || n < 1 || n >= math.MaxInt64 {
		return want
	}
	*s = size(n)
	return nil
}

// A count is 1 or more.
type count uint64

// UnmarshalText reads it.
func (c *count) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil || n == 0 {
		return fmt.Errorf("%q: want a number, 1 or more", text)
	}
	*c = count(n)
	return nil
}

// A word is a number of 32 bits, such as a CID or a port of vsock.
type word uint32

// UnmarshalText reads it.
func (w *word) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 32)
	if err != nil {
		return fmt.Errorf("%q: want a number, 0 to %d", text, uint32(math.MaxUint32))
	}
	*w = word(n)
	return nil
}

// A cpus is a number of CPUs, more than 0.
type cpus float64

// UnmarshalText reads it. The agent knows how little or much is possible.
func (c *cpus) UnmarshalText(text []byte) error {
	n, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(n > 0) { // nor NaN
		return fmt.Errorf("%q: want a number of CPUs, more than 0", text)
	}
	*c = cpus(n)
	return nil
}

// readDuration reads 1.5, which is seconds as for timeout(1), 1m30s or 500ms.
func readDuration(text string) (time.Duration, error) {
	if d, err := time.ParseDuration(text); err == nil {
		return d, nil
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(seconds) < math.MaxInt64/1e9 {
		d := time.Duration(seconds * float64(time.Second))
		if d == 0 && seconds > 0 {
			d = 1 // 0 may mean no limit
		}
		return d, nil
	}
	return 0, fmt.Errorf("%q: want a time, such as 30, 500ms, 1m30s or 2h", text)
}

// asDuration reads a time.
func asDuration(ctx *kong.DecodeContext, target reflect.Value) error {
	token, err := ctx.Scan.PopValue("time")
	if err != nil {
		return err
	}
	text, ok := token.Value.(string)
	if !ok {
		return errors.New("missing value")
	}
	d, err := readDuration(text)
	if err == nil {
		target.SetInt(int64(d))
	}
	return err
}
