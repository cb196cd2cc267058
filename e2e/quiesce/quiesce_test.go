//go:build e2e && linux

// Package quiesce_test freezes file systems of a User-Mode-Linux guest under an agent whose program
// and log are on them.
package quiesce_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

// A file system that stays frozen is one of the guest's, and ends with it.
func TestMain(m *testing.M) { os.Exit(checks.GuestMain(m)) }

// long is set for the nightly tests.
var long = os.Getenv("E2E_LONG") != ""

// sh runs a script in the guest.
func sh(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("sh -ec %s: %v: %s", script, err, out)
	}
	return string(out)
}

// A guest is an agent that is chrooted to a disk of its own, with its program and its log.
type guest struct {
	*client.Client
	t           *testing.T
	root, image string
	agent       *exec.Cmd
	copied      bool // the agent has a copy of the mount namespace
}

// newGuest makes a disk with a file system of a kind, and starts an agent on it.
func newGuest(t *testing.T, kind, size string) *guest {
	t.Helper()
	g := newDisk(t, kind, size)
	g.serve()
	return g
}

// newDisk is newGuest without the agent.
func newDisk(t *testing.T, kind, size string) *guest {
	t.Helper()
	if _, err := exec.LookPath("mkfs." + kind); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	g := &guest{t: t, root: filepath.Join(dir, "root"), image: filepath.Join(dir, "image")}
	sh(t, `
		truncate -s `+size+` `+g.image+` && mkfs.`+kind+` -q `+g.image+` && mkdir `+g.root+`
		mount -o loop `+g.image+` `+g.root+` && cd `+g.root+`
		mkdir -p usr proc dev run sys tmp etc && ln -s usr/bin usr/sbin usr/lib usr/lib64 .
		mount --bind /usr usr && mount -t proc proc proc && mount --bind /dev dev
		mount -t tmpfs tmpfs run && mount --rbind /sys sys
		cp `+checks.Program(t)+` agent
	`)
	t.Cleanup(func() { // the guest's own processes have ended by then
		_ = exec.Command("umount", "-R", "-l", g.root).Run()
	})
	return g
}

// serve starts an agent, and connects to it.
func (g *guest) serve() {
	g.t.Helper()
	log, err := os.OpenFile(g.root+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		g.t.Fatal(err)
	}
	defer log.Close()
	_ = os.Remove(g.root + "/run/s")
	argv := []string{"chroot", g.root, "/agent", "serve", "--listen", "unix:///run/s"}
	if g.copied {
		argv = append([]string{"unshare", "-m", "--propagation", "unchanged"}, argv...)
	}
	g.agent = exec.Command(argv[0], argv[1:]...)
	g.agent.Stderr = log
	if err := g.agent.Start(); err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(g.t.Context(), checks.Patience)
	defer cancel()
	if g.Client, err = client.WaitReady(ctx, "unix://"+g.root+"/run/s"); err != nil {
		g.t.Fatalf("%v\n%s", err, g.log())
	}
	g.t.Cleanup(func() {
		_ = g.Close()
		_ = g.agent.Process.Kill()
		_ = g.agent.Wait()
	})
}

func (g *guest) patiently() context.Context {
	ctx, cancel := context.WithTimeout(g.t.Context(), checks.Patience)
	g.t.Cleanup(cancel)
	return ctx
}

// log returns the agent's log.
func (g *guest) log() string {
	g.t.Helper()
	text, err := os.ReadFile(g.root + "/log")
	if err != nil {
		g.t.Fatal(err)
	}
	return string(text)
}

// grows reports whether a file becomes longer, within 400 ms.
func (g *guest) grows(file string) bool {
	g.t.Helper()
	size := func() int64 {
		info, err := os.Stat(g.root + file)
		if err != nil {
			g.t.Fatal(err)
		}
		return info.Size()
	}
	before := size()
	for range 20 {
		if size() != before {
			return true
		}
		<-time.After(20 * time.Millisecond)
	}
	return false
}

// write starts a command that writes all the time, detached from its connection.
func (g *guest) write(file string) {
	g.t.Helper()
	cmd := g.CommandContext(g.patiently(), "sh", "-c", "while sleep 0.01; do echo x; done >"+file)
	cmd.Outlive.Detach = true
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	checks.Eventually(g.t, "a writer", func() bool { _, err := os.Stat(g.root + file); return err == nil })
	if !g.grows(file) {
		g.t.Fatalf("%s does not grow", file)
	}
}

// quiesce freezes the file systems, and wants every step to succeed.
func (g *guest) quiesce(o client.QuiesceOptions) []client.ReseedStep {
	g.t.Helper()
	steps, err := g.Quiesce(g.patiently(), o)
	if err != nil {
		g.t.Fatalf("Quiesce = %v, %+v", err, steps)
	}
	return steps
}

func (g *guest) thaw(held bool, by string) {
	g.t.Helper()
	switch thawed, err := g.Thaw(g.patiently()); {
	case err != nil:
		g.t.Error(err)
	case thawed.Held != held || thawed.By != by:
		g.t.Errorf("Thaw = %+v, want held: %v, by %q", thawed, held, by)
	}
}

// The agent's own program and log are on the root, which is frozen. Beside it are other file
// systems, one of them in a file of the root.
func TestAgentOnAFrozenRootAnswers(t *testing.T) {
	kinds := map[string]string{"ext4": "64M"}
	if long {
		kinds["xfs"], kinds["btrfs"] = "320M", "160M"
	}
	for kind, size := range kinds {
		t.Run(kind, func(t *testing.T) {
			g := newGuest(t, kind, size)
			sh(t, `cd `+g.root+` && mkdir inner upper work merged bound only
				truncate -s 16M inner.image && mkfs.ext4 -q inner.image && mount -o loop inner.image inner
				mount -t overlay overlay -o lowerdir=`+g.root+`/etc,upperdir=`+g.root+`/upper,workdir=`+g.root+`/work merged
				mount --bind tmp bound && mount --bind tmp only && mount -o remount,bind,ro only`)
			g.write("/data")
			steps := g.quiesce(client.QuiesceOptions{FreezeFS: true, Timeout: time.Minute})
			if note := noteOf(steps, "file_systems"); !strings.Contains(note, "overlay at /merged cannot be frozen") {
				t.Errorf("file_systems: %q", note)
			}
			if g.grows("/data") {
				t.Error("a command writes to a frozen file system")
			}
			g.refuses(100)
			if _, err := g.Info(g.patiently()); err != nil {
				t.Error(err)
			}
			g.thaw(true, "host")
			if !g.grows("/data") {
				t.Error("the command does not go on")
			}
			checks.Eventually(t, "the log", func() bool { return strings.Contains(g.log(), `"message":"thawed"`) })
			if n := strings.Count(g.log(), `"message":"exec refused"`); n != 100 {
				t.Errorf("the log has %d refusals, want 100", n)
			}
		})
	}
}

// refuses has n commands refused, on connections of their own, while ping is answered.
func (g *guest) refuses(n int) {
	g.t.Helper()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			c, err := client.Dial(g.patiently(), "unix://"+g.root+"/run/s")
			if err != nil {
				g.t.Error(err)
				return
			}
			defer c.Close()
			err = c.CommandContext(g.patiently(), "true").Run()
			if remote, ok := errors.AsType[*client.RemoteError](err); !ok || remote.Kind != client.Limit {
				g.t.Errorf("Run = %v, want a refusal", err)
			}
			if err := c.Ping(g.patiently()); err != nil {
				g.t.Error(err)
			}
		})
	}
	all.Wait()
}

func noteOf(steps []client.ReseedStep, name string) string {
	for _, s := range steps {
		if s.Name == name {
			return s.Note
		}
	}
	return ""
}

func TestGuardOutlivesTheAgent(t *testing.T) {
	g := newGuest(t, "ext4", "64M")
	g.write("/data")
	g.quiesce(client.QuiesceOptions{FreezeFS: true, FreezeExecs: true, Timeout: 10 * time.Minute})
	if g.grows("/data") {
		t.Error("a command writes to a frozen file system")
	}
	_ = g.agent.Process.Kill()
	_ = g.agent.Wait()
	checks.Eventually(t, "the command goes on", func() bool { return g.grows("/data") })
	g.serve() // its log is on the file system
	g.thaw(false, "")
	if err := g.CommandContext(g.patiently(), "sh", "-c", "echo x >/more").Run(); err != nil {
		t.Error(err)
	}
}

// The wall clock may jump, as after a restore.
func TestTimerLooksAtNoWallClock(t *testing.T) {
	g := newGuest(t, "ext4", "64M")
	g.write("/data")
	begun := time.Now()
	g.quiesce(client.QuiesceOptions{FreezeFS: true, Timeout: 3 * time.Second})
	var now syscall.Timeval
	if err := syscall.Gettimeofday(&now); err != nil {
		t.Fatal(err)
	}
	now.Sec += 3600
	if err := syscall.Settimeofday(&now); err != nil {
		t.Fatal(err)
	}
	if g.grows("/data") && time.Since(begun) < 2*time.Second {
		t.Error("thawed before the time was over")
	}
	checks.Eventually(t, "the end of the time", func() bool { return g.grows("/data") })
	g.thaw(false, "timeout")
}

// A reseed says that the VM was restored. It has to write files.
func TestReseedThawsFirst(t *testing.T) {
	g := newGuest(t, "ext4", "64M")
	g.quiesce(client.QuiesceOptions{FreezeFS: true, FreezeExecs: true, Timeout: 10 * time.Minute})
	if _, err := g.ReseedWith(g.patiently(), client.ReseedOptions{MachineID: true}); err != nil {
		t.Error(err)
	}
	g.thaw(false, "reseed")
}

func TestHooksRunAroundAFreeze(t *testing.T) {
	g := newGuest(t, "ext4", "64M")
	sh(t, `cd `+g.root+`/etc && mkdir -p cocoon-agent/quiesce.d cocoon-agent/thaw.d && cd cocoon-agent
		printf '#!/bin/sh\necho $COCOON_PHASE >>/phases\n' >quiesce.d/1 && cp quiesce.d/1 thaw.d/1
		printf '#!/bin/sh\n! test -e /fail\n' >quiesce.d/2 && chmod 755 */?`)
	for range 2 {
		g.quiesce(client.QuiesceOptions{FreezeFS: true})
		g.thaw(true, "host")
	}
	sh(t, "touch "+g.root+"/fail")
	_, err := g.Quiesce(g.patiently(), client.QuiesceOptions{FreezeFS: true})
	if _, ok := errors.AsType[*client.QuiesceError](err); !ok || err.Error() != "hooks: 2: exit status 1" {
		t.Errorf("Quiesce = %v (%T), want a failed hook", err, err)
	}
	g.thaw(false, "failed")
	checks.Eventually(t, "the hooks after a failure", func() bool {
		return sh(t, "cat "+g.root+"/phases") == strings.Repeat("quiesce\nthaw\n", 3)
	})
}

// Copies of a disk are taken beside a command that writes records, and says which it has written, without
// a sync. Nothing that it had said when the copy began may be missing in it.
func TestCopiesLoseNoRecord(t *testing.T) {
	rounds := 2
	if long {
		rounds = 20
	}
	g := newGuest(t, "ext4", "64M")
	for name, o := range map[string]*client.QuiesceOptions{
		"nothing": nil, "execs": {FreezeExecs: true}, "file systems": {FreezeFS: true},
	} {
		t.Run(name, func(t *testing.T) {
			lost := 0
			for range rounds {
				lost += g.copyLoses(o)
			}
			t.Logf("%d copies lack %d records", rounds, lost)
			if (o == nil) != (lost > 0) {
				t.Errorf("%d records are lost", lost)
			}
		})
	}
}

// copyLoses returns how many records a copy of the disk lacks.
func (g *guest) copyLoses(o *client.QuiesceOptions) int {
	g.t.Helper()
	var said lines
	ctx, stop := context.WithCancel(g.patiently())
	writer := g.CommandContext(ctx, "sh", "-c", "rm -f /records; n=0; while :; do n=$((n+1)); echo $n >>/records; echo $n; test $((n % 20)) -ne 0 || sleep 0.05; done")
	writer.Stdout = &said
	if err := writer.Start(); err != nil {
		g.t.Fatal(err)
	}
	defer func() { stop(); _ = writer.Wait() }()
	checks.Eventually(g.t, "records", func() bool { return said.count() > 200 })
	if o != nil {
		g.quiesce(*o)
	}
	acknowledged := said.count()
	copied := g.image + ".copy"
	sh(g.t, "cp --sparse=always "+g.image+" "+copied)
	if o != nil {
		g.thaw(true, "host")
	}
	point := g.image + ".d"
	sh(g.t, "mkdir -p "+point+" && mount -o loop "+copied+" "+point)
	records, _ := os.ReadFile(point + "/records")
	sh(g.t, "umount "+point+" && e2fsck -fn "+copied+" && rm "+copied)
	return max(0, acknowledged-bytes.Count(records, []byte("\n")))
}

// lines counts the lines of an output. It is safe for concurrent use.
type lines struct {
	mu sync.Mutex
	n  int
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n += bytes.Count(p, []byte("\n"))
	return len(p), nil
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// Some file systems have no freeze, some cannot be reached, and there may be any number, with any names.
func TestFileSystemsThatAreNotFrozen(t *testing.T) {
	g := newDisk(t, "ext4", "64M")
	sh(t, `cd `+g.root+` && mkdir old hidden many upper
		truncate -s 4M old.image && mkfs.minix old.image >/dev/null && mount -o loop old.image old
		truncate -s 8M hidden.image && mkfs.ext4 -q hidden.image && mount -o loop hidden.image hidden && mount -t tmpfs tmpfs hidden`)
	long := "/many"
	for range 14 {
		long += "/" + strings.Repeat("<", 250)
	}
	for range 12 {
		dir := g.root + long
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("overlay", dir, "overlay", 0, "lowerdir="+g.root+"/etc:"+g.root+"/upper"); err != nil {
			t.Fatal(err)
		}
	}
	g.serve()
	steps := g.quiesce(client.QuiesceOptions{FreezeFS: true})
	note := noteOf(steps, "file_systems")
	for _, want := range []string{"/old cannot be frozen", "ext4 at /hidden is hidden by another mount, and not frozen"} {
		if !strings.Contains(note, want) {
			t.Errorf("file_systems: %q, want %q", note, want)
		}
	}
	g.thaw(true, "host")
}

// A copy of a mount namespace lists the mounts by their paths.
func TestDiskInAFileIsFrozenFirst(t *testing.T) {
	g := newDisk(t, "ext4", "128M")
	sh(t, `cd `+g.root+` && mkdir a srv
		truncate -s 8M a.image && mkfs.ext4 -q a.image && mount -o loop a.image a && mkdir a/inner
		truncate -s 32M srv.image && mkfs.ext4 -q srv.image && mount -o loop srv.image srv
		truncate -s 8M srv/inner.image && mkfs.ext4 -q srv/inner.image && mount -o loop srv/inner.image a/inner`)
	g.copied = true
	g.serve()
	g.quiesce(client.QuiesceOptions{FreezeFS: true})
	g.thaw(true, "host")
}

// A host may give up while hooks run, and a VM may be restored then.
func TestThawDuringHooks(t *testing.T) {
	g := newGuest(t, "ext4", "64M")
	sh(t, `cd `+g.root+`/etc && mkdir -p cocoon-agent/quiesce.d && cd cocoon-agent
		printf '#!/bin/sh\ntouch /begun; while test -e /begun; do sleep 0.1; done\n' >quiesce.d/1 && chmod 755 quiesce.d/1`)
	done := make(chan error, 1)
	go func() {
		_, err := g.Quiesce(g.patiently(), client.QuiesceOptions{FreezeFS: true})
		done <- err
	}()
	checks.Eventually(t, "the hook", func() bool { _, err := os.Stat(g.root + "/begun"); return err == nil })
	thawed := make(chan error, 1)
	go func() {
		_, err := g.Thaw(g.patiently())
		thawed <- err
	}()
	checks.Eventually(t, "the thaw", func() bool { return strings.Contains(g.log(), "thaw requested") })
	sh(t, "rm "+g.root+"/begun")
	if err := <-done; err == nil || !strings.Contains(err.Error(), "thawed meanwhile") {
		t.Errorf("Quiesce = %v, want that it was thawed meanwhile", err)
	}
	if err := <-thawed; err != nil {
		t.Error(err)
	}
	if err := g.CommandContext(g.patiently(), "true").Run(); err != nil {
		t.Error(err)
	}
}

// The next agent runs the hooks of one that was killed.
func TestHooksOfAnAgentThatWasKilled(t *testing.T) {
	g := newGuest(t, "ext4", "64M")
	sh(t, `cd `+g.root+`/etc && mkdir -p cocoon-agent/thaw.d && cd cocoon-agent
		printf '#!/bin/sh\necho $COCOON_PHASE >>/phases\n' >thaw.d/1 && chmod 755 thaw.d/1`)
	g.quiesce(client.QuiesceOptions{FreezeFS: true, Timeout: 10 * time.Minute})
	_ = g.agent.Process.Kill()
	_ = g.agent.Wait()
	checks.Eventually(t, "the guard thaws", func() bool { return syscall.Access(g.root+"/phases", 0) != nil && g.canWrite() })
	g.serve()
	checks.Eventually(t, "the hook", func() bool {
		text, _ := os.ReadFile(g.root + "/phases")
		return string(text) == "thaw\n"
	})
}

// canWrite reports whether a file can be made at once.
func (g *guest) canWrite() bool {
	return exec.Command("timeout", "-s", "KILL", "1", "touch", g.root+"/probe").Run() == nil
}

// The guest is switched off at the end of the tests, while its disk is frozen.
func TestZPowerOffWhileFrozen(t *testing.T) {
	g := newGuest(t, "ext4", "64M")
	g.write("/data")
	g.quiesce(client.QuiesceOptions{FreezeFS: true, Timeout: 10 * time.Minute})
}
