//go:build linux

// Soak runs one agent, as a process, for a long time: a mix of commands of every kind. In between
// it pauses the whole agent, drops connections, and has peers that talk nonsense. Then it upgrades
// the agent in place, many times. It checks the result of each command. At the end the agent must
// hold no more than at the beginning.
//
//	go run ./e2e/soak -agent bin/cocoon-agent -duration 10m
//	go run ./e2e/soak -agent bin/cocoon-agent -execs 100000
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

func main() {
	s := &soak{}
	flag.StringVar(&s.program, "agent", "bin/cocoon-agent", "the agent's program")
	flag.DurationVar(&s.duration, "duration", time.Minute, "how long the mix runs")
	flag.Int64Var(&s.execs, "execs", 0, "run as many short commands instead, 8 at a time")
	flag.IntVar(&s.workers, "workers", 16, "how many jobs of the mix run at a time")
	flag.Parse()
	if err := s.run(); err != nil {
		fmt.Fprintln(os.Stderr, "soak: FAILED:", err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stdout, "soak: passed")
}

// A soak is one run.
type soak struct {
	program  string
	duration time.Duration
	execs    int64
	workers  int

	agent *agent
	pool  *client.Pool
	begun time.Time

	done   atomic.Int64 // jobs, or execs
	cancel context.CancelCauseFunc
}

// calm is how long what a run has left may take to go away: longer than an agent
// takes from SIGTERM to SIGKILL, and than a stream waits to be claimed.
const calm = 30 * time.Second

func (s *soak) run() (err error) {
	if s.agent, err = startAgent(s.program); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.agent.stop()) }()
	goroutines := runtime.NumGoroutine()
	s.begun = time.Now()
	s.pool = client.NewPool(client.PoolConfig{})
	if s.execs > 0 {
		err = s.short()
	} else {
		err = s.mix()
	}
	if e := s.pool.Close(); e != nil {
		return errors.Join(err, e)
	}
	if err == nil {
		err = eventually("the host's goroutines end", func() error {
			if now := runtime.NumGoroutine(); now > goroutines {
				return fmt.Errorf("%d of them, want at most %d", now, goroutines)
			}
			return nil
		})
	}
	return err
}

// short is s.execs runs of true; the first thousand warm up.
func (s *soak) short() error {
	const warm = 1000
	if err := s.trues(warm); err != nil {
		return err
	}
	before, err := s.agent.footprint()
	if err != nil {
		return err
	}
	s.report("after the first thousand", before)
	stop := s.watch()
	err = s.trues(s.execs - warm)
	stop()
	if err != nil {
		return err
	}
	return s.settled(before)
}

func (s *soak) trues(n int64) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var left atomic.Int64
	left.Store(n)
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() { // ends when none is left, or one has failed
			for left.Add(-1) >= 0 && ctx.Err() == nil {
				c, err := s.pool.Get(ctx, s.agent.target)
				if err == nil {
					err = c.CommandContext(ctx, "true").Run()
				}
				if err != nil {
					cancel(err)
				}
				s.done.Add(1)
			}
		})
	}
	running.Wait()
	return context.Cause(ctx)
}

// mix runs jobs of all kinds. The agent's holdings are measured once each job has been
// run, many times over: that is the beginning.
func (s *soak) mix() error {
	if err := s.work(min(s.duration/4, 20*time.Second)); err != nil {
		return err
	}
	if err := s.crowd(); err != nil {
		return err
	}
	var before footprint
	if err := eventually("the agent comes to rest", func() (err error) {
		before, err = s.agent.footprint()
		return errors.Join(err, before.atRest())
	}); err != nil {
		return err
	}
	s.report("warmed up", before)
	stop := s.watch()
	err := s.work(s.duration)
	if err == nil {
		err = s.upgrades(max(10, min(200, int(s.duration/(2*time.Second)))))
	}
	stop()
	if err != nil {
		return err
	}
	return s.settled(before)
}

// crowd has the agent make as many cgroups as it keeps, 64, and some more.
func (s *soak) crowd() error {
	c, err := s.pool.Get(context.Background(), s.agent.target)
	if err != nil {
		return err
	}
	failed := make(chan error, 100)
	for range cap(failed) {
		go func() { failed <- c.Command("sleep", "1").Run() }() // ends by itself
	}
	for range cap(failed) {
		err = errors.Join(err, <-failed)
	}
	return err
}

func (s *soak) work(d time.Duration) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	s.cancel = cancel
	defer cancel(nil)
	timer := time.AfterFunc(d, func() { cancel(errTimeIsUp) })
	defer timer.Stop()
	var running sync.WaitGroup
	for range s.workers {
		running.Go(func() { s.worker(ctx) }) // stopped by ctx, after its job
	}
	running.Go(func() { s.pauses(ctx) }) // likewise
	running.Wait()
	if err := context.Cause(ctx); !errors.Is(err, errTimeIsUp) {
		return err
	}
	return nil
}

var errTimeIsUp = errors.New("time is up")

// settled checks that the agent is where it was before.
func (s *soak) settled(before footprint) error {
	var now footprint
	err := eventually("the agent is where it began", func() (err error) {
		if now, err = s.agent.footprint(); err != nil {
			return err
		}
		return now.exceeds(before)
	})
	s.report("at the end", now)
	return err
}

// watch reports now and then, until stop.
func (s *soak) watch() (stop func()) {
	ticker := time.NewTicker(max(s.duration/20, 5*time.Second))
	done := make(chan struct{})
	go func() { // stopped by stop
		for {
			select {
			case <-ticker.C:
				if f, err := s.agent.footprint(); err == nil {
					s.report("running", f)
				}
			case <-done:
				return
			}
		}
	}()
	return func() { ticker.Stop(); close(done) }
}

func (s *soak) report(what string, f footprint) {
	fmt.Fprintf(os.Stdout, "%6.0fs  %8d done  %v  %s\n", time.Since(s.begun).Seconds(), s.done.Load(), f, what)
}

// eventually asks until there is no error, for calm.
func eventually(what string, ask func() error) error {
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(calm); ; <-poll.C {
		err := ask()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v: %s: %w", calm, what, err)
		}
	}
}
