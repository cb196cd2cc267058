//go:build linux

// Command peer is what the benchmark needs in other processes than its own: the
// servers of the contenders that are not programs of their own, and commands
// that make bytes and take them.
//
//	peer v1 URL            protocol version 1
//	peer rpc URL           net/rpc and os/exec
//	peer copy URL          plain copies between a pipe and the socket
//	peer put URL           what comes goes to the file that its first line names
//	peer echo URL          what comes, goes back
//	peer answer URL        answers questions of 64 bytes, which begin with the size of the answer
//	peer produce N CHUNK   write N bytes, CHUNK at a time; 0: without end
//	peer consume N         read N bytes; fewer are a failure
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/cocoonstack/cocoon-agent/bench/internal/naive"
	"github.com/cocoonstack/cocoon-agent/bench/internal/plain"
	v1 "github.com/cocoonstack/cocoon-agent/bench/internal/v1"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: peer v1|rpc|copy|put|echo|answer URL, peer produce N CHUNK, peer consume N")
	}
	switch args[0] {
	case "v1":
		return serve(args[1], v1.Serve)
	case "rpc":
		return serve(args[1], naive.Serve)
	case "copy":
		return serve(args[1], eachConn(plain.Run))
	case "put":
		return serve(args[1], eachConn(plain.TakeFile))
	case "echo":
		return serve(args[1], eachConn(echo))
	case "answer":
		return serve(args[1], eachConn(plain.Answer))
	case "produce":
		return produce(args[1:])
	case "consume":
		return consume(args[1])
	default:
		return fmt.Errorf("unknown role %q", args[0])
	}
}

// serve serves until SIGTERM.
func serve(url string, with func(net.Listener) error) error {
	address, err := transport.ParseAddress(url)
	if err != nil {
		return err
	}
	ln, err := transport.Listen(address, transport.Policy{CIDs: []uint32{transport.CIDLocal}})
	if err != nil {
		return err
	}
	defer ln.Close()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	failed := make(chan error, 1)
	go func() { failed <- with(ln) }() // ends with the process
	select {
	case err := <-failed:
		return err
	case <-stop:
		return nil
	}
}

// eachConn serves each connection in turn with others, until a listener fails.
func eachConn(serve func(net.Conn) error) func(net.Listener) error {
	return func(ln net.Listener) error {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return err
			}
			go func() { // ends with the connection
				defer nc.Close()
				if err := serve(nc); err != nil && !errors.Is(err, io.EOF) {
					fmt.Fprintln(os.Stderr, "peer:", err)
				}
			}()
		}
	}
}

func echo(nc net.Conn) error {
	_, err := io.Copy(nc, nc)
	return err
}

// produce writes with write(2) itself: standard output may be a pipe of a size
// that Go's poller has no part in.
func produce(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: peer produce N CHUNK")
	}
	total, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return err
	}
	chunk, err := strconv.Atoi(args[1])
	if err != nil || chunk < 1 {
		return fmt.Errorf("chunk %q", args[1])
	}
	buf := make([]byte, chunk)
	for left := total; total == 0 || left > 0; {
		if total > 0 && left < int64(chunk) {
			buf = buf[:left]
		}
		n, err := syscall.Write(1, buf)
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

func consume(arg string) error {
	left, err := strconv.ParseInt(arg, 10, 64)
	if err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	for left > 0 {
		n, err := syscall.Read(0, buf)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%d bytes are missing", left)
		}
		left -= int64(n)
	}
	return nil
}
