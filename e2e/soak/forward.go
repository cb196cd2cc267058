//go:build linux

package main

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

// guestConnection connects to a service on this machine, which is the agent's
// too, and has what it sends echoed, in part: then it hangs up, or the service
// does, by a reset.
func (s *soak) guestConnection(c *client.Client) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer ln.Close()
	broken := rand.IntN(4) == 0
	served := make(chan struct{})
	go func() { // ends with the listener, or the connection
		defer close(served)
		if nc, err := ln.Accept(); err == nil {
			serve(nc.(*net.TCPConn), broken)
		}
	}()
	defer func() { _ = ln.Close(); <-served }()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	nc, err := c.DialGuest(ctx, "tcp", ln.Addr().String())
	if err != nil {
		return err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	return converse(nc, broken)
}

func serve(nc *net.TCPConn, broken bool) {
	defer nc.Close()
	if broken {
		_, _ = io.CopyN(nc, nc, 1000)
		_ = nc.SetLinger(0)
		return
	}
	_, _ = io.Copy(nc, nc)
}

func converse(nc net.Conn, broken bool) error {
	size := 1<<20 + rand.Int64N(4<<20)
	sent, got := sha256.New(), sha256.New()
	go func() { // ends with the connection
		_, _ = io.Copy(nc, io.TeeReader(io.LimitReader(crand.Reader, size), sent))
		_ = nc.(interface{ CloseWrite() error }).CloseWrite()
	}()
	n, err := io.Copy(got, nc)
	_, refused := errors.AsType[*client.RemoteError](err)
	switch {
	case broken && !refused:
		return fmt.Errorf("a reset is read as %w, after %d bytes", orNil(err), n)
	case broken:
		return nil
	case err != nil:
		return err
	case n != size || !bytes.Equal(sent.Sum(nil), got.Sum(nil)):
		return fmt.Errorf("%d bytes of %d, or others than were sent", n, size)
	}
	return nil
}
