package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
)

// agentAsProcess1 is an agent that is process 1 of a pid namespace. Its pid out
// here is returned too.
func agentAsProcess1(t *testing.T) (target string, unshare *exec.Cmd, pid int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make a pid namespace")
	}
	target, unshare = agentBy(t, func(cmd *exec.Cmd) *exec.Cmd {
		first := exec.Command("unshare", append([]string{"--pid", "--fork", "--kill-child", "--mount-proc"}, cmd.Args...)...)
		first.Env = cmd.Env
		return first
	})
	self := unshare.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", self, self))
	if err != nil {
		t.Skipf("the kernel does not tell children: %v", err)
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(string(children))); err != nil {
		t.Fatal(err)
	}
	return target, unshare, pid
}

func TestProcess1ReapsOrphansAndLosesNoExitStatus(t *testing.T) {
	target, _, _ := agentAsProcess1(t)
	c, err := client.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var commands sync.WaitGroup
	for i := range 50 {
		commands.Go(func() {
			err := c.Command("sh", "-c", fmt.Sprintf("(sleep 0.05 & exec true) & (setsid sleep 0.1 &); exit %d", i+1)).Run()
			if want := fmt.Sprintf("exit status %d", i+1); err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
	commands.Wait()
	eventually(t, "nothing is left but the agent", func() bool {
		out, err := c.Command("sh", "-c", "for p in /proc/[1-9]*; do read -r s 2>/dev/null <$p/stat && echo \"$s\"; done; true").Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(out), "\n") == 3 // process 1, the agent, the shell
	})
}

func TestProcess1PassesSIGTERMOnAndEndsWithTheAgent(t *testing.T) {
	target, unshare, pid := agentAsProcess1(t)
	c, err := client.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cmd := c.Command("sh", "-c", `trap "exit 9" TERM; echo up; while :; do sleep 0.02; done`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(line, err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "exit status 9") {
		t.Errorf("the command: %v", err)
	}
	if err := unshare.Wait(); err != nil {
		t.Errorf("process 1: %v", err)
	}
}
