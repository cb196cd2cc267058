package main

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/cocoonstack/cocoon-agent/client"
)

// limitFlags are what a command may use. A limit of 0 is not taken: to the agent
// it is none.
type limitFlags struct {
	Memory size  `placeholder:"SIZE" help:"Memory limit, in bytes or with suffix K, M, G or T. The kernel kills the command if it exceeds the limit."`
	PIDs   count `name:"pids" placeholder:"N" help:"Maximum number of processes and threads of the command."`
	CPU    cpus  `name:"cpu" placeholder:"N" help:"Maximum number of CPUs, such as 0.5."`
}

func (f *limitFlags) limits() client.Limits {
	return client.Limits{Memory: uint64(f.Memory), PIDs: uint64(f.PIDs), CPU: float64(f.CPU)}
}

// A size is a number of bytes, 1 or more.
type size uint64

// UnmarshalText reads 1048576, 1024K, 1024KiB or 1M.
func (s *size) UnmarshalText(text []byte) error {
	digits := strings.TrimRight(string(text), "KMGTiB")
	var shift int
	switch unit := string(text[len(digits):]); unit {
	case "":
	case "K", "KiB":
		shift = 10
	case "M", "MiB":
		shift = 20
	case "G", "GiB":
		shift = 30
	case "T", "TiB":
		shift = 40
	default:
		return fmt.Errorf("%q: unknown unit %q: want K, M, G or T", text, unit)
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n == 0 || bits.Len64(n)+shift > 64 {
		return fmt.Errorf("%q: want 1 or more bytes, with an optional suffix K, M, G or T", text)
	}
	*s = size(n << shift)
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

// A cpus is a number of CPUs, more than 0.
type cpus float64

// UnmarshalText reads it. What is too little or too much, the agent knows.
func (c *cpus) UnmarshalText(text []byte) error {
	n, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(n > 0) { // nor NaN
		return fmt.Errorf("%q: want a number of CPUs, more than 0", text)
	}
	*c = cpus(n)
	return nil
}
