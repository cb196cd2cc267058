#!/usr/bin/env bash
# Guess:  a short Stream.Write is one write to the connection, with the frame's header and its body.
# Seen:   it is two writes, and so two packets on a transport that does not join them. A long Write is
#         one frame of up to the whole window, 256 KiB, and no other stream can send before its end.
# With:   github.com/hashicorp/yamux v0.1.2, Go 1.26, net.Pipe.
# Needs:  Go.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module finding

go 1.26

require github.com/hashicorp/yamux v0.1.2
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"
	"io"
	"net"
	"os"

	"github.com/hashicorp/yamux"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "finding:", err)
		os.Exit(2)
	}
}

// A recorder notes the size of each write.
type recorder struct {
	net.Conn
	sizes chan int
}

func (r recorder) Write(b []byte) (int, error) {
	r.sizes <- len(b)
	return r.Conn.Write(b)
}

func (r recorder) show(what string, n int) {
	fmt.Printf("%s:", what)
	for range n {
		fmt.Printf(" %d", <-r.sizes)
	}
	fmt.Printf("; others: %d\n", len(r.sizes))
}

func main() {
	near, far := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, far) }()
	config := yamux.DefaultConfig()
	config.EnableKeepAlive = false
	config.LogOutput = io.Discard
	conn := recorder{near, make(chan int, 64)}
	session, err := yamux.Client(conn, config)
	must(err)
	stream, err := session.Open()
	must(err)
	conn.show("writes of an Open", 1)
	_, err = stream.Write([]byte("x"))
	must(err)
	conn.show("of 1 byte", 2)
	_, err = stream.Write(make([]byte, 256<<10-1)) // the rest of the stream's window
	must(err)
	conn.show("of 262143 bytes", 2)
}
GO
go mod tidy >/dev/null 2>&1
CGO_ENABLED=0 go build -o finding .
./finding | tee seen

diff seen - <<'EXPECTED'
writes of an Open: 12; others: 0
of 1 byte: 12 1; others: 0
of 262143 bytes: 12 262143; others: 0
EXPECTED
