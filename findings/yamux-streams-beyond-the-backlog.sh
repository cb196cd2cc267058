#!/usr/bin/env bash
# Guess:  Open blocks or fails while the peer has as many streams as its AcceptBacklog that it has not
#         accepted yet.
# Seen:   Open blocks by the backlog of its own side only. If the peer's is smaller, Open succeeds, the
#         peer resets what is beyond, and its Accept never hears of it. The opener learns of it from a
#         later Read or Write, as "connection reset", although the connection is well.
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
	backlog = 4
	opened  = 7
)

func config(backlog int) *yamux.Config {
	c := yamux.DefaultConfig()
	c.AcceptBacklog = backlog
	c.EnableKeepAlive = false
	c.LogOutput = io.Discard
	return c
}

func main() {
	a, b := net.Pipe()
	opener, err := yamux.Client(a, config(64))
	must(err)
	accepter, err := yamux.Server(b, config(backlog))
	must(err)

	var streams []net.Conn
	for range opened {
		stream, err := opener.Open()
		must(err)
		streams = append(streams, stream)
	}
	fmt.Printf("%d streams opened, without an error, to a backlog of %d\n", len(streams), backlog)
	_, err = opener.Ping() // the peer has seen all of them
	must(err)

	accepted := make(chan net.Conn)
	go func() {
		for {
			stream, err := accepter.Accept()
			if err != nil {
				return
			}
			_, err = stream.Write([]byte("!"))
			must(err)
			accepted <- stream
		}
	}()
	count := 0
	for waiting := true; waiting; {
		select {
		case <-accepted:
			count++
		case <-time.After(time.Second):
			waiting = false
		}
	}
	fmt.Printf("the peer accepts %d\n", count)
	for i, stream := range streams {
		_, err := stream.Read(make([]byte, 1))
		fmt.Printf("stream %d: Read: %v\n", i+1, err)
	}
	fmt.Printf("the session is closed: %t\n", opener.IsClosed())
}
GO
go mod tidy >/dev/null 2>&1
CGO_ENABLED=0 go build -o finding .
./finding | tee seen

diff seen - <<'EXPECTED'
7 streams opened, without an error, to a backlog of 4
the peer accepts 4
stream 1: Read: <nil>
stream 2: Read: <nil>
stream 3: Read: <nil>
stream 4: Read: <nil>
stream 5: Read: connection reset
stream 6: Read: connection reset
stream 7: Read: connection reset
the session is closed: false
EXPECTED
