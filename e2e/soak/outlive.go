//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"

	"github.com/cocoonstack/cocoon-agent/client"
)

// detached starts a command over a connection of its own, which it drops, attaches to the command
// over another one, and releases its record.
func (s *soak) detached(c *client.Client) error {
	first, err := client.Dial(context.Background(), s.agent.target)
	if err != nil {
		return err
	}
	lines := rand.IntN(2000)
	cmd := first.Command("sh", "-c", fmt.Sprintf("seq %d; sleep 0.1; exit 4", lines))
	cmd.Outlive = client.Outlive{Detach: true, Key: fmt.Sprint(rand.Uint64())}
	err = cmd.Start()
	_ = first.Close()
	if err != nil {
		return err
	}
	_ = cmd.Wait()
	return errors.Join(s.attached(c, cmd.Handle(), lines, 4), c.ReleaseExec(context.Background(), cmd.Handle()))
}

// attached reads the output of a detached command from its beginning to its end.
func (s *soak) attached(c *client.Client, handle []byte, lines, status int) error {
	a := c.Attach(context.Background(), handle)
	var out strings.Builder
	a.Stdout = &out
	if err := exited(a.Run(), status, "exit"); err != nil {
		return err
	}
	if want := sequence(lines); out.String() != want {
		return fmt.Errorf("a detached command says %d bytes, want %d", out.Len(), len(want))
	}
	return nil
}

// sequence is the output of seq(1).
func sequence(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, i+1)
	}
	return b.String()
}

func (s *soak) resumed(c *client.Client) error {
	lines := rand.IntN(20_000)
	cmd := c.Command("seq", fmt.Sprint(lines))
	cmd.Outlive = client.Outlive{Resume: true, Ring: 4096}
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return err
	}
	if want := sequence(lines); out.String() != want {
		return fmt.Errorf("a resumed command says %d bytes, want %d", out.Len(), len(want))
	}
	return nil
}

// upgrades upgrades the agent many times in place, with detached commands and a terminal under each.
func (s *soak) upgrades(n int) error {
	for range n {
		if err := s.upgraded(); err != nil {
			return fmt.Errorf("upgrade: %w", err)
		}
		s.done.Add(1)
	}
	return nil
}

func (s *soak) upgraded() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := client.Dial(ctx, s.agent.target)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	const lines = 3000
	var all []*client.Cmd
	for i := range 4 {
		cmd := c.CommandContext(ctx, "sh", "-c", fmt.Sprintf("seq %d; sleep 0.2; exit 4", lines))
		cmd.Outlive.Detach = true
		if i == 3 {
			cmd.TTY = &client.TTY{Rows: 24, Cols: 80}
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		all = append(all, cmd)
	}
	if out, err := exec.CommandContext(ctx, s.program, "upgrade", "--control", s.agent.path+".control").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	again, err := client.Dial(ctx, s.agent.target)
	if err != nil {
		return err
	}
	defer func() { _ = again.Close() }()
	for i, cmd := range all {
		if i == 3 {
			err = errors.Join(err, exited(again.Attach(ctx, cmd.Handle()).Run(), 4, "exit"))
		} else {
			err = errors.Join(err, s.attached(again, cmd.Handle(), lines, 4))
		}
		err = errors.Join(err, again.ReleaseExec(ctx, cmd.Handle()))
	}
	return err
}
