package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

// tree is a script that becomes a shell, a daemonised child, its child in a
// session of its own, and that one's child, which stops. Each prints its pid.
const tree = `#!/bin/sh
echo $$
case $1 in
"") ("$0" daemon &); exec sleep 1000 ;;
daemon) setsid "$0" session & wait ;;
session) "$0" stopped & wait; sleep 1000 ;;
stopped) kill -STOP $$; sleep 1000 ;;
esac
`

// planted is a tree that runs.
type planted struct {
	target string
	agent  *exec.Cmd
	pids   []string
	stop   func() // ends what the host's side needs
}

// plant starts a tree by a client program, or one of the library's.
func plant(t *testing.T, target string, agent *exec.Cmd, start func(argv []string) (io.Reader, func())) planted {
	t.Helper()
	script := filepath.Join(t.TempDir(), "tree")
	if err := os.WriteFile(script, []byte(tree), 0o700); err != nil {
		t.Fatal(err)
	}
	out, stop := start([]string{script})
	p := planted{target: target, agent: agent, stop: stop}
	for lines := bufio.NewScanner(out); len(p.pids) < 4; p.pids = append(p.pids, lines.Text()) {
		if !lines.Scan() {
			t.Fatalf("the tree has said %q, and no more", p.pids)
		}
	}
	stopped := p.pids[3]
	eventually(t, "process "+stopped+" is stopped", func() bool { return strings.Contains(statOf(stopped), ") T ") })
	return p
}

func statOf(pid string) string {
	text, _ := os.ReadFile("/proc/" + pid + "/stat")
	return string(text)
}

func TestNothingOfATreeSurvives(t *testing.T) {
	for name, start := range map[string]func(*testing.T) (string, *exec.Cmd){
		"tree=cgroup": func(t *testing.T) (string, *exec.Cmd) {
			target, a := agent(t)
			if cgroupOf(a) == "" {
				t.Skip("no cgroups of our own here")
			}
			return target, a
		},
		"tree=family": agentWithoutCgroups,
	} {
		t.Run(name, func(t *testing.T) {
			for cause, end := range causes {
				t.Run(cause, func(t *testing.T) {
					target, a := start(t)
					group := cgroupOf(a)
					p := end(t, target, a)
					for _, pid := range p.pids {
						eventually(t, "process "+pid+" is gone", func() bool { return gone(pid) })
					}
					p.stop()
					if cause != "shutdown" { // a second signal would end it at once
						_ = a.Process.Signal(syscall.SIGTERM)
					}
					_ = a.Wait()
					if _, err := os.Stat(group); group != "" && err == nil {
						t.Errorf("%s is left", group)
					}
				})
			}
		})
	}
}

// causes are what ends a tree. Each plants one and brings that about.
var causes = map[string]func(t *testing.T, target string, agent *exec.Cmd) planted{
	"cancel": func(t *testing.T, target string, agent *exec.Cmd) planted {
		ctx, cancel := context.WithCancel(t.Context())
		p := plant(t, target, agent, byLibrary(t, ctx, target, 0, func(net.Conn) {}))
		cancel()
		return p
	},
	"killed client": func(t *testing.T, target string, agent *exec.Cmd) planted {
		var host *exec.Cmd
		p := plant(t, target, agent, byProgram(t, target, &host))
		_ = host.Process.Kill()
		return p
	},
	"dropped connection": func(t *testing.T, target string, agent *exec.Cmd) planted {
		var conn net.Conn
		p := plant(t, target, agent, byLibrary(t, t.Context(), target, 0, func(nc net.Conn) { conn = nc }))
		_ = conn.Close()
		return p
	},
	"timeout": func(t *testing.T, target string, agent *exec.Cmd) planted {
		return plant(t, target, agent, byLibrary(t, t.Context(), target, 5*time.Second, func(net.Conn) {}))
	},
	"shutdown": func(t *testing.T, target string, agent *exec.Cmd) planted {
		var host *exec.Cmd
		p := plant(t, target, agent, byProgram(t, target, &host))
		_ = agent.Process.Signal(syscall.SIGTERM)
		return p
	},
}

func byProgram(t *testing.T, target string, host **exec.Cmd) func([]string) (io.Reader, func()) {
	t.Helper()
	return func(argv []string) (io.Reader, func()) {
		*host = program(t, append([]string{"client", "--target", target, "--"}, argv...)...)
		out, err := (*host).StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		start(t, *host)
		return out, func() {}
	}
}

// byLibrary runs a command by package client; dialed gets its connection.
func byLibrary(t *testing.T, ctx context.Context, target string, timeout time.Duration, dialed func(net.Conn)) func([]string) (io.Reader, func()) { //nolint:revive // t is what tests pass first
	t.Helper()
	return func(argv []string) (io.Reader, func()) {
		c, err := client.DialWith(t.Context(), func(ctx context.Context) (net.Conn, error) {
			parsed, err := client.ParseTarget(target)
			if err != nil {
				return nil, err
			}
			nc, err := parsed.Dial(ctx)
			dialed(nc)
			return nc, err
		})
		if err != nil {
			t.Fatal(err)
		}
		cmd := c.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Timeout = timeout
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return out, func() {
			_, _ = io.Copy(io.Discard, out)
			if err := cmd.Wait(); err == nil {
				t.Error("the command has succeeded")
			}
			_ = c.Close()
		}
	}
}

// agentWithoutCgroups is an agent for which no cgroup v2 is mounted.
func agentWithoutCgroups(t *testing.T) (string, *exec.Cmd) {
	t.Helper()
	return agentAfter(t, `for at in $(awk '$3 == "cgroup2" { print $2 }' /proc/mounts); do umount -l "$at"; done`)
}

// cgroupOf is the directory of the cgroups that an agent makes, "" if there is none.
func cgroupOf(agent *exec.Cmd) string {
	found, _ := filepath.Glob("/sys/fs/cgroup/*/cocoon-agent." + strconv.Itoa(agent.Process.Pid))
	more, _ := filepath.Glob("/sys/fs/cgroup/cocoon-agent." + strconv.Itoa(agent.Process.Pid))
	if found = append(found, more...); len(found) > 0 {
		return found[0]
	}
	return ""
}

func TestDaemonEscapesWithoutACgroup(t *testing.T) {
	target, _ := agentWithoutCgroups(t)
	host := program(t, "client", "--target", target, "--", "sh", "-c", `(setsid sh -c 'echo $$; exec sleep 1000' &); echo $$; exec sleep 1000`)
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, host)
	lines := bufio.NewScanner(out)
	var pids []string
	for len(pids) < 2 && lines.Scan() {
		pids = append(pids, lines.Text())
	}
	_ = host.Process.Kill()
	// The daemon's pid may come first or second.
	eventually(t, "one of two is gone", func() bool { return gone(pids[0]) != gone(pids[1]) })
	for _, pid := range pids {
		if n, _ := strconv.Atoi(pid); !gone(pid) {
			_ = syscall.Kill(n, syscall.SIGKILL)
			eventually(t, "the daemon is dead", func() bool { return gone(pid) })
		}
	}
}
