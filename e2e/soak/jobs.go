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
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

// A job runs something over a connection and checks what comes of it.
type job struct {
	name string
	run  func(s *soak, c *client.Client) error
}

var jobs = []job{
	{"exit status", (*soak).exitStatus},
	{"echo", (*soak).echo},
	{"transfer", (*soak).transfer},
	{"long", (*soak).long},
	{"terminal", (*soak).terminal},
	{"kill", (*soak).kill},
	{"cancel", (*soak).cancelled},
	{"timeout", (*soak).timeout},
	{"signal", (*soak).signal},
	{"disconnect", (*soak).disconnect},
	{"keep", (*soak).keep},
	{"detached", (*soak).detached},
	{"resumed", (*soak).resumed},
	{"no command", (*soak).noCommand},
	{"nonsense", (*soak).nonsense},
	{"info", (*soak).info},
	{"limits", (*soak).limits},
	{"guest connection", (*soak).guestConnection},
}

// patience is how long a job may take, pauses of the agent included.
const patience = 2 * time.Minute

func (s *soak) worker(ctx context.Context) {
	for ctx.Err() == nil {
		j := jobs[rand.IntN(len(jobs))]
		if err := s.job(j); err != nil {
			s.cancel(fmt.Errorf("%s: %w", j.name, err))
		}
		s.done.Add(1)
	}
}

func (s *soak) job(j job) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := s.pool.Get(ctx, s.agent.target)
	if err != nil {
		return err
	}
	finished := make(chan error, 1)
	go func() { finished <- j.run(s, c) }() // ends with the job; one that hangs ends the run
	select {
	case err := <-finished:
		return err
	case <-ctx.Done():
		return fmt.Errorf("hangs: %w", ctx.Err())
	}
}

// pauses stops and continues the agent, as a hypervisor does a VM.
func (s *soak) pauses(ctx context.Context) {
	for wait(ctx, time.Second+rand.N(4*time.Second)) {
		_ = s.agent.cmd.Process.Signal(syscall.SIGSTOP)
		_ = wait(ctx, rand.N(2*time.Second))
		_ = s.agent.cmd.Process.Signal(syscall.SIGCONT)
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// exited checks how a command has ended.
func exited(err error, status int, reason client.Reason) error {
	exit, ok := errors.AsType[*client.ExitError](err)
	switch {
	case err == nil && status == 0:
		return nil
	case !ok || exit.ExitStatus() != status || exit.Reason() != reason:
		return fmt.Errorf("%w (%T), want exit status %d by %s", orNil(err), err, status, reason)
	}
	return nil
}

func orNil(err error) error {
	if err == nil {
		return errors.New("success")
	}
	return err
}

func (s *soak) exitStatus(c *client.Client) error {
	n := rand.IntN(120)
	return exited(c.Command("sh", "-c", fmt.Sprint("exit ", n)).Run(), n, "exit")
}

func (s *soak) echo(c *client.Client) error {
	cmd := c.Command("sh", "-c", "cat; echo error >&2")
	var stdout, stderr strings.Builder
	text := strings.Repeat("text ", rand.IntN(1000))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(text), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	if stdout.String() != text || stderr.String() != "error\n" {
		return fmt.Errorf("%d bytes of %d, stderr %q", stdout.Len(), len(text), &stderr)
	}
	return nil
}

func (s *soak) transfer(c *client.Client) error {
	size := 1<<20 + rand.Int64N(8<<20)
	sent, got := sha256.New(), sha256.New()
	cmd := c.Command("cat")
	cmd.Stdin, cmd.Stdout = io.TeeReader(io.LimitReader(crand.Reader, size), sent), got
	if err := cmd.Run(); err != nil {
		return err
	}
	if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		return errors.New("other bytes have come than were sent")
	}
	return nil
}

func (s *soak) long(c *client.Client) error {
	return c.Command("sleep", fmt.Sprint(0.5+2*rand.Float64())).Run()
}

func (s *soak) terminal(c *client.Client) error {
	cmd := c.Command("sh", "-c", "stty size; read line; echo got $line; exit 3")
	cmd.TTY = &client.TTY{Rows: 33, Cols: 77}
	var out strings.Builder
	cmd.Stdin, cmd.Stdout = strings.NewReader("typed\n"), &out
	if err := exited(cmd.Run(), 3, "exit"); err != nil {
		return err
	}
	if text := out.String(); !strings.Contains(text, "33 77") || !strings.Contains(text, "got typed") {
		return fmt.Errorf("the terminal says %q", text)
	}
	return nil
}

// tree is a command with a child, which goes on until it is ended.
const tree = "sleep 1000 & echo $!; wait"

// startTree returns when both run, with the child's pid.
func startTree(ctx context.Context, c *client.Client) (*client.Cmd, string, error) {
	cmd := c.CommandContext(ctx, "sh", "-c", tree)
	cmd.WaitDelay = patience // on a busy machine its end takes longer than DefaultWaitDelay
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	line := make([]byte, 16)
	n, err := out.Read(line)
	if err != nil {
		return nil, "", errors.Join(err, cmd.Wait())
	}
	return cmd, strings.TrimSpace(string(line[:n])), nil
}

func (s *soak) kill(c *client.Client) error {
	cmd, child, err := startTree(context.Background(), c)
	if err != nil {
		return err
	}
	if err := cmd.Kill(); err != nil {
		return err
	}
	return errors.Join(exited(cmd.Wait(), 137, "killed"), gone(child))
}

func (s *soak) cancelled(c *client.Client) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cmd, child, err := startTree(ctx, c)
	if err != nil {
		return err
	}
	cancel()
	if err := cmd.Wait(); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w, want the cancelled context's", orNil(err))
	}
	return gone(child)
}

func (s *soak) timeout(c *client.Client) error {
	cmd := c.Command("sleep", "1000")
	cmd.Timeout = rand.N(200*time.Millisecond) + time.Millisecond
	err := cmd.Run()
	if err != nil && strings.Contains(err.Error(), "stuck in ") {
		return exited(err, 137, "timeout") // it was not the command yet, and got no grace
	}
	return exited(err, 143, "timeout")
}

func (s *soak) signal(c *client.Client) error {
	cmd, child, err := startTree(context.Background(), c)
	if err != nil {
		return err
	}
	if err := cmd.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return errors.Join(exited(cmd.Wait(), 143, "signal"), gone(child))
}

// disconnect has a connection of its own, which it drops.
func (s *soak) disconnect(*client.Client) error {
	c, err := client.Dial(context.Background(), s.agent.target)
	if err != nil {
		return err
	}
	defer c.Close()
	cmd, child, err := startTree(context.Background(), c)
	if err != nil {
		return err
	}
	_ = c.Close()
	if _, ok := errors.AsType[*client.LostExitError](cmd.Wait()); !ok {
		return errors.New("a command whose connection was closed has an exit status")
	}
	return gone(child)
}

// keep leaves a command behind that ends by itself.
func (s *soak) keep(*client.Client) error {
	c, err := client.Dial(context.Background(), s.agent.target)
	if err != nil {
		return err
	}
	cmd := c.Command("sleep", "0.5")
	cmd.Keep = true
	if err := cmd.Start(); err != nil {
		return errors.Join(err, c.Close())
	}
	_ = c.Close()
	_ = cmd.Wait()
	return gone(fmt.Sprint(cmd.PID()))
}

func (s *soak) noCommand(c *client.Client) error {
	err := c.Command("no-such-command").Run()
	if remote, ok := errors.AsType[*client.RemoteError](err); !ok || remote.Kind != client.NotFound {
		return fmt.Errorf("%w, want not_found: there is no such command", orNil(err))
	}
	return nil
}

// nonsense is a peer that does not speak the protocol, or not for long.
func (s *soak) nonsense(*client.Client) error {
	conn, err := net.Dial("unix", s.agent.path)
	if err != nil {
		return err
	}
	defer conn.Close()
	noise := make([]byte, rand.IntN(5000))
	_, _ = crand.Read(noise)
	if rand.IntN(2) == 0 {
		noise = append([]byte(`{"type":"cocoon-agent/2"}`+"\n"), noise...)
	}
	_, _ = conn.Write(noise)
	return nil
}

func (s *soak) info(c *client.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	info, err := c.Info(ctx)
	if err == nil && info.CPUs == 0 {
		err = fmt.Errorf("a guest without a CPU: %+v", info)
	}
	return err
}

// limits are set, or refused if the agent's cgroup does not allow them.
func (s *soak) limits(c *client.Client) error {
	cmd := c.Command("true")
	cmd.Limits.PIDs = 10
	err := cmd.Run()
	if remote, ok := errors.AsType[*client.RemoteError](err); ok && remote.Kind == client.Unsupported {
		return nil
	}
	return err
}

// gone waits until no process of that pid lives.
func gone(pid string) error {
	return eventually("process "+pid+" is gone", func() error {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err == nil && !bytes.Contains(stat, []byte(") Z")) {
			return errors.New("it lives")
		}
		return nil
	})
}
