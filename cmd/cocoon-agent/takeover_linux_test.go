package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

// asFailing has the next agent of a test fail in its takeover: by a panic, or by an exit.
const asFailing = "COCOON_AGENT_TEST_TAKEOVER"

// failsAsAsked is main of an agent of a test that is to fail in its takeover.
func failsAsAsked() (status int, asked bool) {
	how := os.Getenv(asFailing)
	if how == "" || os.Getenv(stateVariable) == "" || os.Getenv(stateVariable) == trialState || os.Getenv(failedVariable) != "" {
		return 0, false
	}
	noteState()
	return orBack(func() int {
		if how == "panic" {
			panic("as asked")
		}
		return 3
	}), true
}

// misbehave is main of a program by whose name it fails in its trial.
func misbehave(name string) (status int, bad bool) {
	switch name {
	case "exits":
		fmt.Fprintln(os.Stderr, "sorry")
		return 3, true
	case "silent":
		return 0, true
	case "panics":
		go func() { panic("at the disco") }()
		select {}
	case "killed":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "hangs":
		<-time.After(patience)
		return 0, true
	}
	return 0, false
}

// descriptorsOf counts the descriptors of an agent, but for those of cgroups, which it makes ahead.
func descriptorsOf(t *testing.T, pid int) (n int) {
	t.Helper()
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range all {
		if to, err := os.Readlink(fd); err == nil && !strings.Contains(to, "/exec-") {
			n++
		}
	}
	return n
}

func TestUpgradeToBadProgramChangesNothing(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bad := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.Symlink(self(t), path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	whole, err := os.ReadFile(self(t))
	if err != nil {
		t.Fatal(err)
	}
	foreign := bytes.Clone(whole[:4096])
	foreign[18] = 0xf3 // e_machine: RISC-V
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o755); err != nil {
		t.Fatal(err)
	}
	u := newUpgradable(t)
	c := dialed(t, u.target)
	cmd := c.Command("sh", "-c", pipesScript)
	cmd.Outlive.Detach = true
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hangUps(t, u.Process.Pid)
	limit, open := limitOf(t, u.Process.Pid), descriptorsOf(t, u.Process.Pid)
	for program, want := range map[string]string{
		file("text", "no program\n"):                    "is not a program that the kernel executes",
		file("script", "#!/bin/sh\nexit 0\n"):           "is not a program that the kernel executes",
		file("truncated", string(whole[:len(whole)/2])): "cannot take over",
		file("foreign", string(foreign)):                "exec format error",
		bad("exits"):                                    "its trial: exit status 3: sorry",
		bad("silent"):                                   "it does not know how to",
		bad("panics"):                                   "panic: at the disco",
		bad("killed"):                                   "its trial: signal KILL",
		bad("hangs"):                                    "no end after 5s",
		filepath.Join(dir, "nosuch"):                    "no such file or directory",
		"relative":                                      "want an absolute path",
		fifo:                                            "is not a regular file",
		dir:                                             "is not a regular file",
	} {
		if _, err := u.upgrade(t, program, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("upgrade to %s: %v, want %s", filepath.Base(program), err, want)
		}
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Errorf("the connection has not outlived the trials: %v", err)
	}
	if got := limitOf(t, u.Process.Pid); got != limit {
		t.Errorf("limits of the agent %+v, want %+v", got, limit)
	}
	eventually(t, "the agent has as many descriptors as before", func() bool { return descriptorsOf(t, u.Process.Pid) <= open })
	u.wantWhole(t, cmd.Handle())
}

// wantWhole checks that a command of pipesScript goes on, and ends it.
func (u *upgradable) wantWhole(t *testing.T, handle []byte) {
	t.Helper()
	cmd := dialed(t, u.target).Attach(t.Context(), handle)
	cmd.Stdin = strings.NewReader("9\n")
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*client.ExitError](err); !ok || exit.ExitCode() != 9 || string(out) != "out 9\n" {
		t.Errorf("%q, %v, want exit status 9 after one line\n%s", out, err, u.Log)
	}
}

func TestAgentBeforeGoesOnAfterFailedTakeover(t *testing.T) {
	for how, want := range map[string]string{"panic": "panic: as asked", "exit": "exit status 3"} {
		t.Run(how, func(t *testing.T) {
			u := newUpgradable(t, asFailing+"="+how)
			cmd := dialed(t, u.target).Command("sh", "-c", pipesScript)
			cmd.Outlive.Detach = true
			if _, err := cmd.StdinPipe(); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			limit := limitOf(t, u.Process.Pid)
			if _, err := u.upgrade(t, self(t), false); err == nil || !strings.Contains(err.Error(), "goes on with the old one: "+want) {
				t.Errorf("upgrade: %v, want %s\n%s", err, want, u.Log)
			}
			if got := limitOf(t, u.Process.Pid); got != limit {
				t.Errorf("limits of the agent %+v, want %+v", got, limit)
			}
			u.wantWhole(t, cmd.Handle())
		})
	}
}

// The settings have changed since the agent was started: the next one cannot listen as they say. The
// agent goes on with the options that it has had, though its file has others.
func TestUpgradeWithSettingsThatCannotBeGoesBack(t *testing.T) {
	for name, options := range map[string][]string{
		"plain": {"--settings", "DIR/settings"}, "as service files do": {"--settings", "DIR/settings", "--answer-if-invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpgradableWith(t, options)
			settings := filepath.Join(filepath.Dir(u.control), "settings")
			cmd := dialed(t, u.target).Command("sh", "-c", pipesScript)
			cmd.Outlive.Detach = true
			if _, err := cmd.StdinPipe(); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"COCOON_AGENT_OPTIONS=--listen unix:///nonexistent/s\n", ""} {
				if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				_, err := u.upgrade(t, self(t), false)
				if text != "" && (err == nil || !strings.Contains(err.Error(), "goes on with the old one: listen on unix:///nonexistent/s")) || text == "" && err != nil {
					t.Errorf("upgrade with %q: %v\n%s", text, err, u.Log)
				}
			}
			u.wantWhole(t, cmd.Handle())
		})
	}
}

func TestUpgradeCommandTellsWhatIsWrong(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--control", "/nonexistent/c"}, "no agent listens on the control socket /nonexistent/c (serve --control)"},
		{[]string{"-W", "0s"}, "--timeout 0s: want more than 0"},
	} {
		cmd := program(t, append([]string{"upgrade"}, test.args...)...)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), test.want) {
			t.Errorf("upgrade %v: %q, %v, want %s", test.args, out, err, test.want)
		}
	}
	u := newUpgradable(t)
	out, err := program(t, "upgrade", "--json", "--control", u.control, "--binary", self(t)).Output()
	var answer upgradeAnswer
	if err != nil || json.Unmarshal(out, &answer) != nil || answer.To == "" || answer.From != answer.To {
		t.Errorf("upgrade --json: %s, %v", out, err)
	}
}
