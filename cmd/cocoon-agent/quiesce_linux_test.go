package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

// These tests freeze no file system: those of e2e/quiesce do, in a guest.

// A counting is a detached command that makes a file longer all the time.
type counting struct{ file string }

func (u *upgradable) counts(t *testing.T) counting {
	t.Helper()
	c := counting{filepath.Join(t.TempDir(), "count")}
	cmd := u.detached(t, "echo ready; while sleep 0.01; do echo x; done >"+c.file, nil)
	t.Cleanup(func() { _ = syscall.Kill(-cmd.PID(), syscall.SIGKILL) }) // an agent that is killed leaves it
	eventually(t, "a command that counts", func() bool { return c.size() > 0 })
	return c
}

func (c counting) size() int64 {
	info, err := os.Stat(c.file)
	if err != nil {
		return 0
	}
	return info.Size()
}

// stands reports whether the command does not count, for a while.
func (c counting) stands() bool {
	size := c.size()
	for range 15 {
		<-time.After(20 * time.Millisecond)
		if c.size() != size {
			return false
		}
	}
	return true
}

// ask runs the program, and returns its status and output.
func (u *upgradable) ask(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	cmd := program(t, args...)
	cmd.Env = append(cmd.Env, "COCOON_AGENT_TARGET="+u.target)
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), said.String()
}

// wants is ask, with the status and parts of the output.
func (u *upgradable) wants(t *testing.T, status int, stdout, stderr string, args ...string) {
	t.Helper()
	got, out, said := u.ask(t, args...)
	if got != status || !strings.Contains(out, stdout) || !strings.Contains(said, stderr) {
		t.Errorf("%v: status %d, %q, %q; want %d, %q, %q", args, got, out, said, status, stdout, stderr)
	}
}

// freezesExecs quiesces the guest with its execs.
func (u *upgradable) freezesExecs(t *testing.T, within string) {
	t.Helper()
	status, out, said := u.ask(t, "quiesce", "--freeze-execs", "--timeout", within)
	if strings.Contains(said, "the agent has no cgroups") {
		t.Skip("no cgroups of our own here")
	}
	if want := "execs      changed"; status != 0 || !strings.Contains(out, want) {
		t.Fatalf("status %d, %q, %q; want 0 and %q", status, out, said, want)
	}
}

func TestQuiesceStopsAndThawGoesOn(t *testing.T) {
	u := newUpgradable(t)
	count := u.counts(t)
	u.freezesExecs(t, "1m")
	if !count.stands() {
		t.Error("a command counts while the guest is quiesced")
	}
	u.wants(t, 255, "", "limit reached: the guest is quiesced", "client", "true")
	u.wants(t, 1, "", "limit reached: the guest is quiesced", "ps")
	u.wants(t, 0, "", "", "ping", "-c", "1")
	u.wants(t, 0, "", "", "info")
	u.wants(t, 0, "execs      unchanged", "", "quiesce", "--freeze-execs", "--timeout", "2m")
	u.wants(t, 0, "sync       unchanged", "", "quiesce")
	u.wants(t, 1, "", "freezes less: thaw it first", "quiesce", "--freeze-fs", "--timeout", "100ms") // should it not be refused, all goes on soon
	u.wants(t, 0, "thaw  changed", "", "thaw")
	if count.stands() {
		t.Error("the command does not go on")
	}
	u.wants(t, 0, "hello\n", "", "client", "echo", "hello")
	u.wants(t, 1, "", "was thawed before, by \"thaw\", after ", "thaw")
}

func TestThawWithoutQuiesce(t *testing.T) {
	u := newUpgradable(t)
	u.wants(t, 1, "", "was not quiesced since the agent started", "thaw")
	status, out, _ := u.ask(t, "thaw", "--json")
	var answer struct {
		Held *bool
		By   *string
	}
	if err := json.Unmarshal([]byte(out), &answer); status != 1 || err != nil || answer.Held == nil || *answer.Held || answer.By == nil || *answer.By != "" {
		t.Errorf("status %d, %q, %v", status, out, err)
	}
}

func TestQuiesceEndsInTime(t *testing.T) {
	u := newUpgradable(t)
	count := u.counts(t)
	u.freezesExecs(t, "50ms")
	eventually(t, "the command goes on", func() bool { return !count.stands() })
	u.wants(t, 1, "", "thawed by the timer after ", "thaw")
	u.wants(t, 0, "hello\n", "", "client", "echo", "hello")
}

func TestQuiesceOptionsOutOfRange(t *testing.T) {
	u := newUpgradable(t)
	for _, d := range []string{"0s", "-1s", "500us", "10m1ms"} {
		u.wants(t, 2, "", "--timeout "+d[:2], "quiesce", "--timeout="+d)
	}
	u.wants(t, 2, "", "--wait 0s: want more than 0", "thaw", "-W", "0s")
}

// A reseed says that the guest was restored from a snapshot.
func TestReseedEndsAQuiesce(t *testing.T) {
	u := newUpgradable(t)
	count := u.counts(t)
	u.freezesExecs(t, "5m")
	u.ask(t, "reseed") // may lack privileges here
	if count.stands() {
		t.Error("the command does not go on")
	}
	u.wants(t, 1, "", "(reseed) after ", "thaw")
}

func TestQuiesceAndUpgradeExcludeEachOther(t *testing.T) {
	u := newUpgradable(t)
	u.wants(t, 0, "", "", "quiesce", "--timeout", "1m")
	if _, err := u.upgrade(t, self(t), true); err == nil || !strings.Contains(err.Error(), "the guest is quiesced: thaw it first") {
		t.Errorf("upgrade = %v", err)
	}
	u.wants(t, 0, "", "", "thaw")
	if _, err := u.upgrade(t, self(t), false); err != nil {
		t.Error(err)
	}
	u.wants(t, 0, "", "", "quiesce")
	u.wants(t, 0, "", "", "thaw")
}

// SIGTERM does not end what is frozen.
func TestShutdownThawsFirst(t *testing.T) {
	u := newUpgradable(t)
	count := u.counts(t)
	u.freezesExecs(t, "10m")
	if err := u.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := u.Wait(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("the shutdown took %v, as if SIGTERM had ended nothing", took)
	}
	if !count.stands() {
		t.Error("the command goes on after the shutdown")
	}
	if !strings.Contains(u.Log.String(), `"by":"shutdown"`) {
		t.Errorf("the log does not say why all goes on:\n%s", u.Log)
	}
}

// The guard outlives an agent that is killed.
func TestAgentThatIsKilledFreezesNothing(t *testing.T) {
	u := newUpgradable(t)
	count := u.counts(t)
	u.freezesExecs(t, "10m")
	if !count.stands() {
		t.Error("the command counts")
	}
	_ = u.Process.Kill()
	_ = u.Wait()
	eventually(t, "the command goes on", func() bool { return !count.stands() })
	v := newUpgradable(t)
	v.wants(t, 0, "", "", "quiesce")
	v.wants(t, 0, "", "", "thaw")
}

func TestQuiesceIsDenied(t *testing.T) {
	u := newUpgradableWith(t, []string{"--deny", "quiesce"})
	u.wants(t, 1, "", "quiesce: not allowed by this agent's policy", "quiesce")
	u.wants(t, 1, "", "thaw: not allowed by this agent's policy", "thaw")
}

// Many hosts quiesce, thaw and run commands at the same time: each is answered.
func TestQuiesceBesideCommands(t *testing.T) {
	u := newUpgradable(t)
	done := make(chan struct{})
	for n := range 8 {
		go func() {
			defer func() { done <- struct{}{} }()
			c, err := client.Dial(t.Context(), u.target)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for range 20 {
				var err error
				switch n % 3 {
				case 0:
					_, err = c.Quiesce(t.Context(), client.QuiesceOptions{FreezeExecs: true, Timeout: time.Minute})
				case 1:
					_, err = c.Thaw(t.Context())
				default:
					err = c.Command("true").Run()
				}
				remote, refused := errors.AsType[*client.RemoteError](err)
				_, failed := errors.AsType[*client.QuiesceError](err)
				if err != nil && !failed && (!refused || remote.Kind != client.Limit) {
					t.Errorf("%d: %v", n, err)
				}
			}
		}()
	}
	for range 8 {
		_ = within(t, "an answer to each", func() error { <-done; return nil })
	}
	u.ask(t, "thaw")
	u.wants(t, 0, "hello\n", "", "client", "echo", "hello")
}

// Signals and kills of commands that run pass: nobody would send them again.
func TestSignalsPassWhileQuiesced(t *testing.T) {
	u := newUpgradable(t)
	c := dialed(t, u.target)
	ctx, cancel := context.WithCancel(t.Context())
	var commands []*client.Cmd
	for range 2 {
		cmd := c.CommandContext(ctx, "sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		commands = append(commands, cmd)
	}
	u.wants(t, 0, "", "", "quiesce", "--timeout", "10m")
	if err := commands[0].Signal(syscall.SIGUSR1); err != nil {
		t.Error(err)
	}
	if exit, ok := errors.AsType[*client.ExitError](commands[0].Wait()); !ok || exit.Signal() != "USR1" {
		t.Errorf("the command ended with %v, want USR1", exit)
	}
	cancel()
	err := within(t, "the end of a command whose context has ended", commands[1].Wait)
	if exit, ok := errors.AsType[*client.ExitError](err); !ok || exit.Signal() != "TERM" {
		t.Errorf("Wait = %v, want the exit of a command that was ended", err)
	}
	u.wants(t, 0, "", "", "thaw")
}

func TestFreezeRecordIsInADirectoryOfTheUser(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/own")
	want := "/own/cocoon-agent/frozen"
	if os.Geteuid() == 0 {
		want = "/run/cocoon-agent/frozen"
	}
	if got := freezeRecord(); got != want {
		t.Errorf("freezeRecord() = %s, want %s", got, want)
	}
}
