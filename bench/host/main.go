//go:build linux

// Command host is the host's side of a comparison of two revisions: it holds one
// connection to an agent and takes one sample for each line of its standard
// input. The answer to each is a line: how many ns the sample took.
//
//	host TARGET PEER        PEER is the program of bench/peer
//
//	exec N ATONCE           N execs of /bin/true
//	stdout BYTES CHUNK      an exec that writes so many bytes, CHUNK at a time
//	stdin BYTES CHUNK       an exec that is sent so many bytes, CHUNK at a time
//	ping N                  N pings, one after another
//	busy N                  the same, 2 ms apart, while 4 execs write all they can
//	sleep N                 starts N shells that wait for a line
//	wake                    ends their input and waits for their exit codes
//
// bench -against compiles this file in the module of the other revision as well.
// So it imports only the standard library and client, and uses only what client
// has had since BASE of the Makefile.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "host:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: host TARGET PEER")
	}
	c, err := client.Dial(ctx, args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Ping(ctx); err != nil {
		return err
	}
	h := &host{client: c, peer: args[1]}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		took, err := h.sample(ctx, strings.Fields(lines.Text()))
		if err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
		fmt.Fprintln(os.Stdout, took.Nanoseconds())
	}
	return lines.Err()
}

type host struct {
	client   *client.Client
	peer     string
	sleepers []*sleeper
}

type sleeper struct {
	cmd   *client.Cmd
	input io.Closer
}

// sample takes the sample that the words of a line ask for.
func (h *host) sample(ctx context.Context, words []string) (time.Duration, error) {
	if len(words) == 0 {
		return 0, errors.New("empty line")
	}
	var n [2]int
	for i, word := range words[1:min(len(words), 3)] {
		var err error
		if n[i], err = strconv.Atoi(word); err != nil {
			return 0, err
		}
	}
	if words[0] == "busy" {
		return h.busy(ctx, n[0])
	}
	begun := time.Now()
	err := h.work(ctx, words[0], n[0], n[1])
	return time.Since(begun), err
}

func (h *host) work(ctx context.Context, what string, a, b int) error {
	switch what {
	case "exec":
		return many(a, b, func(int) error { return h.exec(ctx) })
	case "stdout":
		return h.stdout(ctx, a, b)
	case "stdin":
		return h.stdin(ctx, a, b)
	case "ping":
		return many(a, 1, func(int) error { return h.client.Ping(ctx) })
	case "sleep":
		h.sleepers = make([]*sleeper, a)
		return many(a, 8, func(i int) error { return h.sleep(ctx, i) })
	case "wake":
		return h.wake()
	default:
		return errors.New("no such sample")
	}
}

func (h *host) exec(ctx context.Context) error {
	var stdout, stderr bytes.Buffer
	cmd := h.client.CommandContext(ctx, "/bin/true")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return cmd.Run()
}

// stdout succeeds only if all has come: the client package counts.
func (h *host) stdout(ctx context.Context, size, chunk int) error {
	cmd := h.client.CommandContext(ctx, h.peer, "produce", strconv.Itoa(size), strconv.Itoa(chunk))
	cmd.Stdout, cmd.Stderr = io.Discard, os.Stderr
	return cmd.Run()
}

func (h *host) stdin(ctx context.Context, size, chunk int) error {
	cmd := h.client.CommandContext(ctx, h.peer, "consume", strconv.Itoa(size))
	cmd.Stdin = io.LimitReader(zeros(chunk), int64(size))
	cmd.Stdout, cmd.Stderr = io.Discard, os.Stderr
	return cmd.Run()
}

const (
	saturating = 4

	// rampTime is how long the load has before the first ping.
	rampTime = 100 * time.Millisecond
	pingGap  = 2 * time.Millisecond
)

// busy returns what n pings took together.
func (h *host) busy(ctx context.Context, n int) (time.Duration, error) {
	ctx, stop := context.WithCancel(ctx)
	var load sync.WaitGroup
	defer load.Wait()
	defer stop()
	for range saturating {
		cmd := h.client.CommandContext(ctx, h.peer, "produce", "0", "65536")
		cmd.Stdout = new(counter)
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		load.Go(func() { _ = cmd.Wait() }) // ends with ctx, which kills the command
	}
	<-time.After(rampTime)
	var took time.Duration
	for range n {
		<-time.After(pingGap)
		begun := time.Now()
		if err := h.client.Ping(ctx); err != nil {
			return 0, err
		}
		took += time.Since(begun)
	}
	return took, nil
}

// sleep starts sleeper i. Its exit code says which one it is.
func (h *host) sleep(ctx context.Context, i int) error {
	cmd := h.client.CommandContext(ctx, "/bin/sh", "-c", "read line; exit "+strconv.Itoa(exitCode(i)))
	cmd.Stdout, cmd.Stderr = new(counter), new(counter)
	input, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	h.sleepers[i] = &sleeper{cmd, input}
	return cmd.Start()
}

func exitCode(i int) int { return 1 + i%250 }

func (h *host) wake() error {
	for i, s := range h.sleepers {
		if err := s.input.Close(); err != nil {
			return err
		}
		err := s.cmd.Wait()
		var exit *client.ExitError
		if !errors.As(err, &exit) || exit.ExitStatus() != exitCode(i) {
			return fmt.Errorf("sleeper %d: %w, want exit code %d", i, err, exitCode(i))
		}
	}
	h.sleepers = nil
	return nil
}

// many calls f for 0 to n-1, atOnce at a time, and returns the first error.
func many(n, atOnce int, f func(int) error) error {
	if atOnce < 2 {
		for i := range n {
			if err := f(i); err != nil {
				return err
			}
		}
		return nil
	}
	var next atomic.Int64
	failed := make(chan error, atOnce)
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() { // ends with the calls, or the first error of its own
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// A counter counts what is written to it.
type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// zeros reads at most so many bytes at a time, without the cost of making them.
type zeros int

func (z zeros) Read(p []byte) (int, error) { return min(len(p), int(z)), nil }
