package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
)

// agentAfter is an agent in a mount namespace of its own, in which a script has
// been run before.
func agentAfter(t *testing.T, script string) (string, *exec.Cmd) {
	t.Helper()
	return agentAfterIn(t, script, "--mount")
}

// agentAfterIn is agentAfter in namespaces of the kinds that unshare(1) calls so. $0 of the script is a
// directory of the test's.
func agentAfterIn(t *testing.T, script string, kinds ...string) (string, *exec.Cmd) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can change mounts, in a mount namespace")
	}
	return agentBy(t, func(cmd *exec.Cmd) *exec.Cmd {
		args := slices.Concat(kinds, []string{"sh", "-ec", script + `; exec "$@"`, t.TempDir()}, cmd.Args)
		changed := exec.Command("unshare", args...)
		changed.Env = cmd.Env
		return changed
	})
}

// in runs a script in the agent's mount namespace.
func (g *guest) in(t *testing.T, script string) {
	t.Helper()
	cmd := exec.Command("nsenter", "--target", strconv.Itoa(g.pid), "--mount", "sh", "-ec", script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nsenter, %s: %v: %s", script, err, out)
	}
}

// ends checks that a command, what it has started and its terminal can be ended.
func (g *guest) ends(t *testing.T) {
	t.Helper()
	for _, tty := range []bool{false, true} {
		cmd := g.Command("sh", "-c", "trap : TERM HUP; sleep 1000 & echo $! $$; while :; do wait; done")
		if tty {
			cmd.TTY = &client.TTY{}
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Signal(syscall.SIGCONT); err != nil {
			t.Errorf("signal: %v", err)
		}
		if err := cmd.Kill(); err != nil {
			t.Errorf("kill: %v", err)
		}
		if exit, ok := errors.AsType[*client.ExitError](cmd.Wait()); !ok || exit.Reason() != "killed" || exit.OutputCut() {
			t.Errorf("the end: %v", exit)
		}
		for _, pid := range strings.Fields(line) {
			eventually(t, "process "+pid+" is gone", func() bool { return gone(pid) })
		}
	}
}

func TestNoProc(t *testing.T) {
	for when, start := range map[string]func(*testing.T) *guest{
		"from the beginning": func(t *testing.T) *guest {
			target, cmd := agentAfter(t, "umount -l /proc")
			c, err := client.Dial(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			return &guest{Client: c, target: target, pid: cmd.Process.Pid}
		},
		"after the start": func(t *testing.T) *guest {
			g := newGuest(startAfter(t, "true"))
			g.in(t, "umount -l /proc")
			g.lives(t)
			return g
		},
		"after the start, without cgroups": func(t *testing.T) *guest {
			target, cmd := agentWithoutCgroups(t)
			g := newGuest(t, target, cmd)
			g.in(t, "umount -l /proc")
			g.lives(t)
			return g
		},
	} {
		t.Run(when, func(t *testing.T) {
			g := start(t)
			g.works(t)
			g.ends(t)
			fds := g.Command("sh", "-c", "for fd in 3 4 5 6 7 8 9; do { true <&$fd; } 2>/dev/null && echo $fd; done; true")
			if out, err := fds.Output(); err != nil || len(out) > 0 {
				t.Errorf("descriptors in a command: %q, %v", out, err)
			}
			g.in(t, "mount -t proc proc /proc")
			g.works(t)
			g.ends(t)
			if g.cmd != nil {
				g.recovers(t)
			}
		})
	}
}

// startAfter is agentAfter, for newGuest.
func startAfter(t *testing.T, script string) (*testing.T, string, *exec.Cmd) {
	t.Helper()
	target, cmd := agentAfter(t, script)
	return t, target, cmd
}

const (
	emptyDev = "mount -t tmpfs none /dev"
	makeNull = "mknod -m 666 /dev/null c 1 3"
)

func TestNoTerminals(t *testing.T) {
	target, cmd := agentAfter(t, emptyDev+"; "+makeNull)
	g := newGuest(t, target, cmd)
	g.works(t)
	before := descriptors(t, g.pid)
	tty := func() *client.Cmd {
		cmd := g.Command("sh", "-c", "[ -t 0 ]")
		cmd.TTY = &client.TTY{}
		return cmd
	}
	for range 3 {
		wantRefused(t, tty().Run(), client.Unsupported, "no terminal available: open /dev/ptmx")
	}
	g.works(t)
	if now := descriptors(t, g.pid); now != before {
		t.Errorf("%d descriptors have become %d", before, now)
	}
	g.in(t, "mkdir /dev/pts; mount -t devpts -o newinstance,ptmxmode=666,max=1 devpts /dev/pts; ln -s pts/ptmx /dev/ptmx")
	holder := g.Command("sh", "-c", "echo up; read -r line")
	holder.TTY = &client.TTY{}
	keys, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, tty().Run(), client.Limit, "no space left on device")
	_, _ = keys.Write([]byte("\n"))
	if err := holder.Wait(); err != nil {
		t.Error(err)
	}
	if err := tty().Run(); err != nil {
		t.Errorf("with a terminal again: %v", err)
	}
	g.recovers(t)
}

func TestNoNullDevice(t *testing.T) {
	for what, script := range map[string]string{"missing": "true", "a file": "touch /dev/null"} {
		t.Run(what, func(t *testing.T) {
			target, cmd := agentAfter(t, emptyDev+"; "+script)
			c, err := client.Dial(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			g := &guest{Client: c, pid: cmd.Process.Pid}
			wantRefused(t, c.Command("true").Run(), client.Unsupported, "/dev/null")
			all := c.Command("cat")
			var out bytes.Buffer
			all.Stdin, all.Stdout, all.Stderr = strings.NewReader("in"), &out, new(bytes.Buffer)
			if err := all.Run(); err != nil || out.String() != "in" {
				t.Errorf("a command that needs none: %q, %v", &out, err)
			}
			g.in(t, "rm -f /dev/null; "+makeNull)
			g.works(t)
			g.in(t, "rm /dev/null")
			g.works(t)
		})
	}
}

func TestDiskIsReadOnlyAndTmpIsFull(t *testing.T) {
	target, cmd := agentAfter(t, "true")
	g := newGuest(t, target, cmd)
	g.in(t, "mount -t tmpfs -o size=4k tmpfs /tmp; ! head -c 9000 /dev/zero >/tmp/full 2>/dev/null; mount -o remount,bind,ro /")
	read := g.Command("sh", "-c", "! echo more >/tmp/more && ! true >/var/tmp/cocoon-agent-test")
	if err := read.Run(); err != nil {
		t.Fatalf("they are not: %v", err)
	}
	g.lives(t)
	g.works(t)
	g.ends(t)
	g.in(t, "mount -o remount,bind,rw /; umount /tmp")
	g.recovers(t)
}

func TestDiskIsFullWhenAMachineIDIsWritten(t *testing.T) {
	target, cmd := agentAfter(t, "true")
	g := newGuest(t, target, cmd)
	g.in(t, "mount -t tmpfs tmpfs /var/lib; "+ // the random seed of this machine stays
		"mount -t tmpfs -o size=4k tmpfs /etc; echo old >/etc/machine-id")
	reseed := func() error { return g.Reseed(t.Context(), bytes.Repeat([]byte{7}, 32), true) }
	wantRefused(t, reseed(), client.Limit, "no space left on device")
	g.in(t, "[ $(cat /etc/machine-id) = old ]; [ $(ls -A /etc | wc -l) = 1 ]; mount -o remount,size=1m /etc")
	if err := reseed(); err != nil {
		t.Errorf("with space again: %v", err)
	}
	g.in(t, "grep -Eqx '[0-9a-f]{32}' /etc/machine-id; umount /etc")
	g.recovers(t)
}

func TestUnreadableUsers(t *testing.T) {
	target, cmd := agentAfter(t, "true")
	g := newGuest(t, target, cmd)
	// A directory is opened and not read.
	g.in(t, "mount -t tmpfs tmpfs /mnt; cp -r /etc /mnt/etc; rm /mnt/etc/passwd; mkdir /mnt/etc/passwd; mount --bind /mnt/etc /etc")
	for _, user := range []string{"nobody", "65534", "nobody:nogroup"} {
		as := g.Command("true")
		as.User = user
		wantRefused(t, as.Run(), client.Internal, "/etc/passwd")
	}
	g.works(t)
	g.in(t, "umount /etc")
	as := g.Command("true")
	as.User = "nobody"
	if err := as.Run(); err != nil {
		t.Errorf("as nobody again: %v", err)
	}
	g.recovers(t)
}

func TestCgroupsTurnReadOnly(t *testing.T) {
	target, cmd := agentAfter(t, "true")
	if cgroupOf(cmd) == "" {
		t.Skip("no cgroups of our own here")
	}
	g := newGuest(t, target, cmd)
	mount := filepath.Dir(cgroupOf(cmd))
	g.in(t, "mount --bind "+mount+" "+mount+"; mount -o remount,bind,ro "+mount)
	g.works(t)
	g.ends(t)
	limited := g.Command("true")
	limited.Limits.PIDs = 10
	err := limited.Run()
	wantRefused(t, err, client.Unsupported, "cannot set limits")
	if strings.Count(err.Error(), "cannot") != 1 {
		t.Errorf("it says so twice: %v", err)
	}
	g.in(t, "umount "+mount)
	g.recovers(t)
}
