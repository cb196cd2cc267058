package mux_test

import (
	"fmt"
	"io"
	"testing"
)

// The baseline of BenchmarkStream is the same socket without a protocol.
func BenchmarkSocket(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			near, far := socketpair(b)
			carryBytes(b, near, far, size)
		})
	}
}

func BenchmarkStream(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			host, agent := newPair(b).stream(b)
			carryBytes(b, host, agent, size)
		})
	}
}

func carryBytes(b *testing.B, r io.Reader, w io.Writer, size int) {
	b.Helper()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	done := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.Discard, r, int64(size)*int64(b.N))
		done <- err
	}()
	p := make([]byte, size)
	for range b.N { // not b.Loop: the reader must know how many there are
		if _, err := w.Write(p); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	host, agent := newPair(b).stream(b)
	go func() { _, _ = io.Copy(agent, agent) }() // ends with the session
	b.ReportAllocs()
	p := make([]byte, 64)
	for b.Loop() {
		if _, err := host.Write(p); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(host, p); err != nil {
			b.Fatal(err)
		}
	}
}
