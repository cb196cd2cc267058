#!/usr/bin/env bash
# Guess:  Stream.Read returns at once if data have come, and Stream.Close does not wait for the peer.
# Seen:   both send a frame, and wait until the peer takes it or ConnectionWriteTimeout (10 s by default)
#         has passed. Read does so when half of the stream's window has been read, and then returns the
#         data together with an error. Close returns nil.
# With:   github.com/hashicorp/yamux v0.1.2, Go 1.26, net.Pipe, a peer that writes and does not read.
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
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/hashicorp/yamux"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "finding:", err)
		os.Exit(2)
	}
}

const (
	headerSize = 12
	half       = 128 << 10 // of a stream's window
	patience   = time.Second
)

// data is the header of a data frame for stream 1.
func data(n uint32) []byte {
	h := []byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(h[8:], n)
	return h
}

func main() {
	near, far := net.Pipe()
	config := yamux.DefaultConfig()
	config.EnableKeepAlive = false
	config.ConnectionWriteTimeout = patience
	config.LogOutput = io.Discard
	session, err := yamux.Client(near, config)
	must(err)
	go func() { // the peer takes the stream's opening, and nothing after it
		_, err := io.ReadFull(far, make([]byte, headerSize))
		must(err)
		_, err = far.Write(append(data(half), make([]byte, half)...))
		must(err)
	}()
	stream, err := session.Open()
	must(err)

	buf := make([]byte, half)
	_, err = io.ReadFull(stream, buf[:half-1]) // less than half of the window: no update is due
	must(err)
	begun := time.Now()
	n, err := stream.Read(buf)
	fmt.Printf("Read: %d byte; error: %v; it has waited: %t\n", n, err, time.Since(begun) >= patience)
	begun = time.Now()
	err = stream.Close()
	fmt.Printf("Close: error: %v; it has waited: %t\n", err, time.Since(begun) >= patience)
}
GO
go mod tidy >/dev/null 2>&1
CGO_ENABLED=0 go build -o finding .
./finding | tee seen

diff seen - <<'EXPECTED'
Read: 1 byte; error: connection write timeout; it has waited: true
Close: error: <nil>; it has waited: true
EXPECTED
