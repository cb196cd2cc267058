//go:build e2e && linux

package limits_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

// The agent shares the shortages of these tests: there are no limits for its execs, and
// the agent is in the cgroup that is short of something.

func (a *agent) lives(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), checks.Patience)
	defer cancel()
	if err := a.Ping(ctx); err != nil {
		t.Fatalf("ping: %v", err)
	}
	if info, err := a.Info(ctx); err != nil || info.Kernel == "" {
		t.Errorf("info: %+v, %v", info, err)
	}
}

func wantShortage(t *testing.T, err error, text string) {
	t.Helper()
	refused, ok := errors.AsType[*client.RemoteError](err)
	if !ok || refused.Kind != client.Limit || !strings.Contains(refused.Message, text) {
		t.Errorf("got %v (%T), want a limit: %s", err, err, text)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

func TestForkBombLeavesTheAgentServing(t *testing.T) {
	handOn(t, root)
	dir := service(t, root)
	a := serve(t, dir, "agent")
	bomb := a.command(t, client.Limits{}, "sh", "-c", "bomb() { bomb | bomb & }; bomb; exec sleep 1000")
	write(t, filepath.Join(dir, "pids.max"), "60")
	if err := bomb.Start(); err != nil {
		t.Fatal(err)
	}
	checks.Eventually(t, "all processes are taken", func() bool {
		return number(t, dir, "pids.events", "max") > 200
	})
	refused := 0
	for range 2 {
		const many = 16
		errs := make(chan error, many)
		for range many {
			go func() { errs <- a.command(t, client.Limits{}, "true").Run() }() // ends by the agent's answer
		}
		for range many {
			// The bomb's processes come and go: some of these may find room.
			if _, ok := errors.AsType[*client.RemoteError](<-errs); ok {
				refused++
			}
		}
		a.lives(t)
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
	if err := bomb.Kill(); err != nil {
		t.Fatal(err)
	}
	if exit, ok := errors.AsType[*client.ExitError](bomb.Wait()); !ok || exit.Reason() != "killed" {
		t.Errorf("the bomb: %v", exit)
	}
	if got := a.output(t, client.Limits{}, "sh", "-c", "(echo a); echo b"); got != "a\nb\n" {
		t.Errorf("afterwards: %q", got)
	}
	stop(t, a)
}

func TestNoMoreProcessesIsAnErrorAndPasses(t *testing.T) {
	handOn(t, root)
	dir := service(t, root)
	a := serve(t, dir, "agent")
	check := a.bystander(t)
	pids := filepath.Join(dir, "pids.max")
	write(t, pids, "1") // below what there is
	for range 3 {
		const many = 32
		errs := make(chan error, many)
		for range many {
			go func() { errs <- a.command(t, client.Limits{}, "true").Run() }() // ends by the agent's answer
		}
		for range many {
			wantShortage(t, <-errs, "resource temporarily unavailable")
		}
		a.lives(t)
	}
	write(t, pids, "max")
	check()
	if got := a.output(t, client.Limits{}, "echo", "again"); got != "again\n" {
		t.Errorf("afterwards: %q", got)
	}
	stop(t, a)
}

// The OOM killer takes what a command has used up, and not the agent.
func TestCommandThatTakesAllMemoryLeavesTheAgent(t *testing.T) {
	const file = "/proc/self/oom_score_adj"
	write(t, file, "-1000") // as the unit has it
	handOn(t, root)
	dir := service(t, root)
	a := serve(t, dir, "agent")
	write(t, file, "0")
	check := a.bystander(t)
	write(t, filepath.Join(dir, "memory.max"), "134217728")
	for range 3 {
		err := a.command(t, client.Limits{}, append(hog(t)[:2:2], strings.Replace(hog(t)[2], "; exit 0", "", 1))...).Run()
		if exit, ok := errors.AsType[*client.ExitError](err); !ok || exit.ExitStatus() != 137 {
			t.Errorf("the hog: %v", err)
		}
		a.lives(t)
	}
	check()
	stop(t, a)
}

// Each file that is polled is the kernel's memory, which epoll(7) limits.
func TestNoMorePolledFilesIsAnErrorAndPasses(t *testing.T) {
	const file = "/proc/sys/fs/epoll/max_user_watches"
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	a := serve(t, root, "")
	check := a.bystander(t)
	write(t, file, "0")
	t.Cleanup(func() { write(t, file, string(before)) })
	for _, tty := range []*client.TTY{nil, {}} {
		cmd := a.command(t, client.Limits{}, "echo", "lost")
		cmd.TTY = tty
		_, err := cmd.Output()
		wantShortage(t, err, "epoll refused it")
	}
	a.lives(t)
	write(t, file, string(before))
	check()
	if got := a.output(t, client.Limits{}, "echo", "again"); got != "again\n" {
		t.Errorf("afterwards: %q", got)
	}
}

// A command may have its cgroup hand on controllers to one below, in which it is:
// nothing can be started in the upper one any more.
func TestSpoiltCgroupIsNotReused(t *testing.T) {
	a := serve(t, root, "")
	const spoil = `
own=` + root + `$(sed -n s/^0:://p /proc/self/cgroup)
mkdir $own/below && echo $$ >$own/below/cgroup.procs || exit 1
for dir in ` + root + ` ${own%/*} $own; do echo +pids >$dir/cgroup.subtree_control || exit 2; done`
	a.output(t, client.Limits{}, "sh", "-c", spoil)
	for range 3 {
		if got := a.output(t, client.Limits{}, "echo", "runs"); got != "runs\n" {
			t.Errorf("echo prints %q, want %q", got, "runs\n")
		}
	}
	if err := a.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = a.Wait()
	left, err := filepath.Glob(fmt.Sprintf("%s/cocoon-agent.%d*", root, a.Process.Pid))
	if err != nil || len(left) != 0 {
		t.Fatalf("left behind: %v, %v", left, err)
	}
}
