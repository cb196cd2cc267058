package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Dial connects to the agent that t names. Cancelling ctx, or its deadline,
// ends every step of it; afterwards ctx has no effect on the connection.
// The caller closes the connection.
func Dial(ctx context.Context, t Target) (net.Conn, error) {
	switch t.Scheme {
	case schemeVsock:
		return dialVsock(ctx, t.CID, t.Port)
	case schemeHybrid:
		return dialHybrid(ctx, t.Path, t.Port)
	case schemeUnix:
		return dialAgent(ctx, t)
	default:
		return nil, fmt.Errorf("dial: unknown scheme %q", t.Scheme)
	}
}

// dialAgent connects to an agent's own socket. A directory that others may write
// to lets them bind its path first: the kernel knows who did.
func dialAgent(ctx context.Context, t Target) (net.Conn, error) {
	conn, err := dialUnix(ctx, t.Path)
	if err != nil {
		return nil, err
	}
	if err := checkServer(conn, t); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", socketPath(path))
}

// ErrNoAnswer says that a VMM hung up instead of connecting: nothing listens on
// that port in the guest, or the guest is not up.
var ErrNoAnswer = errors.New("the VMM closed the connection: nothing listens on that port in the guest, or the guest is not up")

// dialHybrid connects through a VMM that maps vsock to a Unix socket.
// https://github.com/firecracker-microvm/firecracker/blob/main/docs/vsock.md
//
// CONNECT goes out in one write, and nothing behind it: a VMM may drop what
// comes before its answer.
func dialHybrid(ctx context.Context, path string, port uint32) (net.Conn, error) {
	conn, err := dialUnix(ctx, path)
	if err != nil {
		return nil, err
	}
	// A deadline in the past wakes a blocked Read or Write.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err = connectHybrid(conn, port)
	if !stop() && err == nil {
		// The deadline is set, or is about to be.
		err = ctx.Err()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		_ = conn.Close()
		return nil, fmt.Errorf("CONNECT %d: %w", port, err)
	}
	return conn, nil
}

func connectHybrid(conn net.Conn, port uint32) error {
	reply, err := askHybrid(conn, port)
	if HungUp(err) {
		return ErrNoAnswer // it hung up before it had read CONNECT
	}
	if err != nil {
		return err
	}
	if strings.HasPrefix(reply, "{") {
		return errNoVMM
	}
	n, ok := strings.CutPrefix(reply, "OK ")
	if _, err := strconv.ParseUint(strings.TrimSpace(n), 10, 32); !ok || err != nil {
		return fmt.Errorf("the VMM answered %q instead of OK", reply)
	}
	return nil
}

func askHybrid(conn net.Conn, port uint32) (reply string, err error) {
	if _, err := io.WriteString(conn, "CONNECT "+strconv.FormatUint(uint64(port), 10)+"\n"); err != nil {
		return "", err
	}
	return readLine(conn)
}

// maxReply is more than the longest answer, "OK 4294967295\n".
const maxReply = 64

// readLine reads a line byte by byte: what follows it belongs to the guest.
func readLine(r io.Reader) (string, error) {
	line := make([]byte, 0, maxReply)
	for len(line) < maxReply {
		var b [1]byte
		if _, err := io.ReadFull(r, b[:]); errors.Is(err, io.EOF) {
			return "", noAnswer(line)
		} else if err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[0])
	}
	if line[0] == '{' {
		return "", errNoVMM
	}
	return "", fmt.Errorf("the VMM answered %q… instead of OK", line)
}

// errNoVMM is what it means that a JSON object answers CONNECT.
var errNoVMM = permanent(errors.New("an agent answered, not a VMM: use unix:// instead of hvsock://"))

func noAnswer(line []byte) error {
	if len(line) > 0 {
		return fmt.Errorf("the VMM answered %q and closed the connection", line)
	}
	return ErrNoAnswer
}
