package ports

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Listener is bound for a Spec.
type Listener struct {
	net.Listener // one of the guest is replaced when another agent takes its place
	Spec         Spec

	made fs.FileInfo // of a Unix socket's file; nil: there is none to remove

	mu     sync.Mutex // guards Listener, while it may be replaced
	closed bool
}

// Address returns the address at which it listens.
func (l *Listener) Address() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Addr().String()
}

// Close stops listening, and removes the file of a Unix socket unless another program
// has replaced it.
func (l *Listener) Close() error {
	l.mu.Lock()
	l.closed = true
	ln := l.Listener
	l.mu.Unlock()
	err := ln.Close()
	if l.made == nil {
		return err
	}
	if now, e := os.Lstat(l.Spec.Host.Address); e == nil && os.SameFile(l.made, now) {
		err = errors.Join(err, os.Remove(l.Spec.Host.Address))
	}
	return err
}

// Listen binds all that specs say, or nothing. The caller closes the listeners.
func Listen(ctx context.Context, specs []Spec) (bound []*Listener, err error) {
	defer func() {
		if err != nil {
			CloseAll(bound)
			bound = nil
		}
	}()
	for _, s := range specs {
		var some []*Listener
		if s.Host.Network == "unix" {
			some, err = listenUnix(ctx, s)
		} else {
			some, err = listenTCP(ctx, s)
		}
		bound = append(bound, some...)
		if err != nil {
			return bound, err
		}
	}
	return bound, nil
}

// CloseAll closes listeners.
func CloseAll(listeners []*Listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}

// config leaves out keep-alives: a peer on this machine cannot go away unnoticed.
var config = net.ListenConfig{KeepAlive: -1}

func listenTCP(ctx context.Context, s Spec) ([]*Listener, error) {
	switch {
	case strings.HasPrefix(s.Host.Address, anyHost):
		return listenAt(ctx, s, "tcp", strings.TrimPrefix(s.Host.Address, anyHost))
	case strings.HasPrefix(s.Host.Address, ":"):
		return listenLoopback(ctx, s)
	default:
		return listenAt(ctx, s, "tcp", s.Host.Address)
	}
}

func listenAt(ctx context.Context, s Spec, network, address string) ([]*Listener, error) {
	ln, err := config.Listen(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return []*Listener{{Listener: ln, Spec: s}}, nil
}

// portTries is how often a free port of 127.0.0.1 is looked for that is free on ::1, too.
const portTries = 16

// listenLoopback listens on 127.0.0.1 and ::1, with the same port. A host without IPv6 has
// no ::1.
func listenLoopback(ctx context.Context, s Spec) ([]*Listener, error) {
	for try := 1; ; try++ {
		four, err := listenAt(ctx, s, "tcp4", "127.0.0.1"+s.Host.Address)
		if err != nil {
			return nil, err
		}
		_, port, _ := net.SplitHostPort(four[0].Address()) // which package net has made
		six, err := listenAt(ctx, s, "tcp6", net.JoinHostPort("::1", port))
		switch {
		case err == nil:
			return append(four, six...), nil
		case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
			return four, nil
		}
		CloseAll(four)
		if s.Host.Address != ":0" || try == portTries {
			return nil, err
		}
	}
}

// aliveTime is how long a socket that exists has to answer.
const aliveTime = 2 * time.Second

// listenUnix listens on a Unix socket whose file only this user may connect to. A file
// that a dead process has left is replaced.
func listenUnix(ctx context.Context, s Spec) ([]*Listener, error) {
	path := s.Host.Address
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("%s exists and is not a socket: remove it, or choose another path", path)
	default:
		if err := removeDead(ctx, path); err != nil {
			return nil, err
		}
	}
	l, err := listenPrivate(ctx, path)
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	made, err := os.Lstat(path)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return []*Listener{{Listener: l, Spec: s, made: made}}, nil
}

// removeDead removes a socket that nobody serves.
func removeDead(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, aliveTime)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		_ = nc.Close()
		return fmt.Errorf("%s: a program listens on this socket: choose another path", path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	default:
		return fmt.Errorf("%s exists, and it is not known whether a program listens on it: %w", path, err)
	}
}

func listenSocket(ctx context.Context, path string) (*net.UnixListener, error) {
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	return l.(*net.UnixListener), nil
}
