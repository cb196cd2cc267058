#!/usr/bin/env bash
# Guess:  a stream whose connection has been reset gives its reader an error, and not the io.EOF that it
#         gives after the peer has closed the stream.
# Seen:   both are io.EOF. A reader that stops at io.EOF takes half a file for a whole one. Only a
#         caller that waits in Session.Accept learns what has ended the connection.
# With:   github.com/hashicorp/yamux v0.1.2, Go 1.26, TCP over 127.0.0.1.
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
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/hashicorp/yamux"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "finding:", err)
		os.Exit(2)
	}
}

// connect returns two sessions, and the connection of the second.
func connect() (near, far *yamux.Session, conn *net.TCPConn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	must(err)
	accepted, err := l.Accept()
	must(err)
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	near, err = yamux.Client(dialled, config)
	must(err)
	far, err = yamux.Server(accepted, config)
	must(err)
	return near, far, accepted.(*net.TCPConn)
}

// half opens a stream, has the far end send the first half of a file over it, and
// then do what end does. It returns what the near end reads afterwards.
func half(end func(net.Conn, *net.TCPConn)) (read, accept error) {
	near, far, conn := connect()
	defer near.Close()
	defer far.Close()
	stream, err := near.Open()
	must(err)
	peer, err := far.Accept()
	must(err)
	_, err = peer.Write([]byte("half"))
	must(err)
	_, err = io.ReadFull(stream, make([]byte, 4))
	must(err)
	end(peer, conn)
	_, read = stream.Read(make([]byte, 4))
	if errors.Is(read, io.EOF) && !near.IsClosed() {
		return read, nil
	}
	_, accept = near.Accept()
	return read, accept
}

func main() {
	read, _ := half(func(peer net.Conn, _ *net.TCPConn) { must(peer.Close()) })
	fmt.Printf("the peer closes the stream: the reader gets %v\n", read)
	read, accept := half(func(_ net.Conn, conn *net.TCPConn) {
		must(conn.SetLinger(0)) // Close sends a reset
		must(conn.Close())
	})
	fmt.Printf("the connection is reset: the reader gets %v; Accept gets ECONNRESET: %t\n", read, errors.Is(accept, syscall.ECONNRESET))
}
GO
go mod tidy >/dev/null 2>&1
CGO_ENABLED=0 go build -o finding .
./finding | tee seen

diff seen - <<'EXPECTED'
the peer closes the stream: the reader gets EOF
the connection is reset: the reader gets EOF; Accept gets ECONNRESET: true
EXPECTED
