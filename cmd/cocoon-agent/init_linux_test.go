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
func agentAsProcess1(t *testing.T, words ...string) (target string, unshare *exec.Cmd, pid int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make a pid namespace")
	}
	target, unshare = agentBy(t, func(cmd *exec.Cmd) *exec.Cmd {
		first := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", cmd.Path)
		if len(words) == 0 {
			words = []string{"serve"}
		}
		first.Args = append(append(first.Args, words...), cmd.Args[2:]...) // after "serve"
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

// endsInOrder ends process 1, and wants a command to have its grace.
func endsInOrder(t *testing.T, target string, process1 int) {
	t.Helper()
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
	if err := syscall.Kill(process1, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "exit status 9") {
		t.Errorf("the command: %v", err)
	}
}

func TestProcess1ForwardsSIGTERMToTheAgent(t *testing.T) {
	target, unshare, pid := agentAsProcess1(t)
	endsInOrder(t, target, pid)
	if err := unshare.Wait(); err != nil {
		t.Errorf("process 1: %v", err)
	}
}

func TestInitStartsTheAgentAgain(t *testing.T) {
	// Words of the kernel's command line come first.
	target, unshare, pid := agentAsProcess1(t, "splash", "nosuch=1", "serve", "--init")
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGPIPE} {
		if err := syscall.Kill(pid, sig); err != nil { // it takes no notice
			t.Fatal(err)
		}
	}
	for range 2 {
		var c *client.Client
		eventually(t, "the agent answers", func() (answers bool) {
			var err error
			c, err = client.Dial(t.Context(), target)
			if err == nil && c.Command("true").Run() != nil { // the one before was asked
				_ = c.Close()
				return false
			}
			return err == nil
		})
		out, err := c.Command("sh", "-c", "(sleep 0.01 &) ; echo $PPID; ls -d /dev/fd /dev/pts /proc/self /sys/kernel").Output()
		if err != nil {
			t.Fatalf("the command prints %s, %v", out, err)
		}
		parent, _, _ := strings.Cut(string(out), "\n")
		_ = c.Command("kill", "-KILL", parent).Run() // the agent
		_ = c.Close()
	}
	if err := syscall.Kill(pid, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	_ = unshare.Wait()
	// reboot(2) ends a pid namespace, whose process 1 seems to die of a signal.
	if status := unshare.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGINT {
		t.Errorf("process 1 ends by %v, want SIGINT", unshare.ProcessState)
	}
}

func TestInitEndsCommandsInOrder(t *testing.T) {
	target, unshare, pid := agentAsProcess1(t, "serve", "--init")
	endsInOrder(t, target, pid)
	_ = unshare.Wait()
	if status := unshare.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGHUP {
		t.Errorf("process 1 ends by %v, want SIGHUP", unshare.ProcessState)
	}
}

func TestArgumentsOfProcess1(t *testing.T) {
	const usual = "serve --init --answer-if-invalid --settings /etc/default/cocoon-agent"
	for line, want := range map[string]string{
		"":                                   usual,
		"splash":                             usual,
		"--port 2000":                        usual,
		"splash serve --port 2000":           "serve --port 2000",
		"serve":                              "serve",
		"version":                            "version",
		"--version":                          "--version",
		"exec --target unix:///x -- serve x": "exec --target unix:///x -- serve x",
		"client -- true":                     "client -- true",
	} {
		if got := strings.Join(argumentsOfInit(strings.Fields(line), false), " "); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
	// The kernel's own words may be the names of commands.
	if got := strings.Join(argumentsOfInit([]string{"info", "--version"}, true), " "); got != usual {
		t.Errorf("in a guest: %q", got)
	}
}

func TestArgumentsBelowAnInit(t *testing.T) {
	got := strings.Join(argumentsBelow([]string{"agent", "serve", "--init=true", "--answer-if-invalid", "--port", "1", "--init"}), " ")
	if want := "agent serve --port 1 --control /run/cocoon-agent/control.sock --answer-if-invalid"; got != want {
		t.Errorf("argumentsBelow = %q, want %q", got, want)
	}
	got = strings.Join(argumentsBelow([]string{"agent", "serve", "--control=/run/c"}), " ")
	if want := "agent serve --control=/run/c --answer-if-invalid"; got != want {
		t.Errorf("argumentsBelow = %q, want %q", got, want)
	}
}
