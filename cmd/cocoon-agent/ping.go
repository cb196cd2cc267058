package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/client"
)

type pingCommand struct {
	targetFlags

	Count    int           `short:"c" placeholder:"N" help:"Stop after N pings. Default: run until interrupted."`
	Interval time.Duration `short:"i" default:"1s" help:"Time between two pings."`
	Timeout  time.Duration `short:"W" default:"2s" help:"Time limit for each answer."`
	JSON     bool          `name:"json" help:"Print one JSON object at the end, and nothing else."`
}

// Help is what --help says besides the flags.
func (*pingCommand) Help() string {
	return `All pings use one connection to the agent. They do not test the guest's network.
An agent that supports only protocol version 1 gets a new connection for each ping,
and refuses it. Exit status:

  0  at least one ping was answered
  1  no ping was answered, or the connection failed
  2  invalid command line

  cocoon-agent ping -c 3 --cid 3`
}

// Run pings until it has done so Count times, or is interrupted.
func (p *pingCommand) Run(k *kong.Context) error {
	switch {
	case p.Count < 0 || given(k, "count") && p.Count == 0:
		return misuse("--count %d: want 1 or more", p.Count)
	case p.Interval < 0:
		return misuse("--interval %v is negative", p.Interval)
	case p.Timeout <= 0:
		return misuse("--timeout %v: want more than 0", p.Timeout)
	}
	url, err := p.url(k)
	if err != nil {
		return err
	}
	c, err := p.dial(context.Background(), url)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	out := &checkedWriter{to: k.Stdout}
	if p.JSON {
		out.to = io.Discard
	}
	fmt.Fprintf(out, "PING %s\n", url)
	var s pingStatistics
	err = p.pings(ctx, c, out, &s)
	fmt.Fprintf(out, "\n--- %s ---\n", url)
	s.print(out)
	if p.JSON {
		out.err = s.printJSON(k.Stdout)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", url, err)
	case out.err != nil:
		return out.err
	}
	if len(s.trips) == 0 && s.sent > 0 {
		return fmt.Errorf("%s: no ping was answered", url)
	}
	return nil
}

// pings returns an error if the connection has failed.
func (p *pingCommand) pings(ctx context.Context, c *client.Client, out *checkedWriter, s *pingStatistics) error {
	next := time.NewTicker(max(p.Interval, time.Nanosecond))
	defer next.Stop()
	for ctx.Err() == nil {
		s.sent++
		trip, err := p.ping(ctx, c)
		switch {
		case err == nil:
			s.trips = append(s.trips, trip)
			fmt.Fprintf(out, "seq=%d time=%s\n", s.sent, milliseconds(trip))
		case ctx.Err() != nil:
			s.sent-- // interrupted while it was under way
			return nil
		case errors.Is(err, context.DeadlineExceeded):
			fmt.Fprintf(out, "seq=%d no answer within %v\n", s.sent, p.Timeout)
		default:
			return err
		}
		if s.sent == p.Count || out.err != nil {
			return nil
		}
		select {
		case <-next.C:
		case <-ctx.Done():
		}
	}
	return nil
}

func (p *pingCommand) ping(ctx context.Context, c *client.Client) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	begun := time.Now()
	err := c.Ping(ctx)
	return time.Since(begun), err
}

type pingStatistics struct {
	sent  int
	trips []time.Duration
}

func (s *pingStatistics) print(out io.Writer) {
	fmt.Fprintf(out, "%d sent, %d answered\n", s.sent, len(s.trips))
	if len(s.trips) == 0 {
		return
	}
	least, median, most := s.summary()
	fmt.Fprintf(out, "round trip min/median/max: %s/%s/%s\n", milliseconds(least), milliseconds(median), milliseconds(most))
}

// summary returns the shortest, the median and the longest trip, 0 if there was none.
func (s *pingStatistics) summary() (least, median, most time.Duration) {
	n := len(s.trips)
	if n == 0 {
		return 0, 0, 0
	}
	slices.Sort(s.trips)
	return s.trips[0], (s.trips[(n-1)/2] + s.trips[n/2]) / 2, s.trips[n-1]
}

// printJSON is a contract: names and units stay.
func (s *pingStatistics) printJSON(out io.Writer) error {
	least, median, most := s.summary()
	return writeJSON(out, struct {
		Sent     int     `json:"sent"`
		Answered int     `json:"answered"`
		Least    float64 `json:"round_trip_min_seconds"`
		Median   float64 `json:"round_trip_median_seconds"`
		Most     float64 `json:"round_trip_max_seconds"`
	}{s.sent, len(s.trips), least.Seconds(), median.Seconds(), most.Seconds()})
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.3f ms", float64(d)/float64(time.Millisecond))
}
