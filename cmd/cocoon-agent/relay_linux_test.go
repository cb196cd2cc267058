package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// relayed starts "client" with a script that says "ready", and returns what the
// script says then.
func startRelaying(t *testing.T, script string) (host *exec.Cmd, said *bufio.Reader) {
	t.Helper()
	target, _ := agent(t)
	host = program(t, "client", "--target", target, "--", "sh", "-c", script)
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, host)
	said = bufio.NewReader(out)
	if line, err := said.ReadString('\n'); line != "ready\n" {
		t.Fatalf("the script says %q, %v", line, err)
	}
	return host, said
}

func TestSignalsAreTheCommands(t *testing.T) {
	for sig, name := range map[syscall.Signal]string{
		syscall.SIGINT: "INT", syscall.SIGTERM: "TERM", syscall.SIGHUP: "HUP",
		syscall.SIGQUIT: "QUIT", syscall.SIGUSR1: "USR1", syscall.SIGUSR2: "USR2",
	} {
		t.Run(sig.String(), func(t *testing.T) {
			// A sleep that is being forked meanwhile gets no signal: none is long.
			host, said := startRelaying(t, `for s in INT TERM HUP QUIT USR1 USR2; do trap "echo $s; exit 9" $s; done; echo ready; while kill -0 $PPID; do sleep 0.02; done`)
			if err := host.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			rest, _ := io.ReadAll(said)
			_ = host.Wait()
			if want := name + "\n"; string(rest) != want || host.ProcessState.ExitCode() != 9 {
				t.Errorf("the command says %q, want %q; exit status %d", rest, want, host.ProcessState.ExitCode())
			}
		})
	}
}

func TestClientExitsWith130AfterARelayedSIGINT(t *testing.T) {
	host, _ := startRelaying(t, "echo ready; exec sleep 1000")
	if err := host.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = host.Wait()
	if got := host.ProcessState.ExitCode(); got != 130 {
		t.Errorf("exit status %d", got)
	}
}

func TestSecondInterruptKills(t *testing.T) {
	host, said := startRelaying(t, `trap 'echo again' INT; echo ready; while kill -0 $PPID; do sleep 0.02; done`)
	for range 2 {
		if err := host.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if line, err := said.ReadString('\n'); line != "again\n" {
			// Killed, or, if this machine was too slow, asked again.
			t.Logf("the script says %q, %v", line, err)
			break
		}
	}
	// On a machine that is that slow, two in a row will do.
	for eventuallyKilled := false; !eventuallyKilled; {
		_ = host.Process.Signal(syscall.SIGINT)
		_, err := said.ReadString('\n')
		eventuallyKilled = err != nil
	}
	_ = host.Wait()
	switch got := host.ProcessState.ExitCode(); got {
	case 137:
	case -1: // a third SIGINT came before the agent's answer
	case 143: // the first one came before Start had returned: it ended the command by SIGTERM
	default:
		t.Errorf("exit status %d", got)
	}
}

// As nohup(1) and shells without job control start programs.
func TestIgnoredSignalsStayIgnored(t *testing.T) {
	target, _ := agent(t)
	client := program(t, "client", "--target", target, "--", "sh", "-c", "echo ready; read line; exit 4")
	host := exec.Command("sh", append([]string{"-c", `trap '' HUP INT; exec "$@"`, "sh"}, client.Args...)...)
	host.Env = client.Env
	in, err := host.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, host)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the script says %q, %v", line, err)
	}
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if err := host.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = io.WriteString(in, "line\n")
	_ = host.Wait()
	if got := host.ProcessState.ExitCode(); got != 4 {
		t.Errorf("exit status %d", got)
	}
}

func TestSignalBeforeTheStartEndsTheClient(t *testing.T) {
	target, guest := agent(t)
	if err := guest.Process.Signal(syscall.SIGSTOP); err != nil { // it will not answer
		t.Fatal(err)
	}
	defer func() { _ = guest.Process.Signal(syscall.SIGCONT) }()
	host := program(t, "client", "--target", target, "--", "true")
	start(t, host)
	caught := func() bool {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", host.Process.Pid))
		_, after, _ := strings.Cut(string(status), "SigCgt:\t")
		return len(after) > 16 && after[13] != '0' // USR1, 10, which Go catches for signal.Notify alone
	}
	eventually(t, "the client catches signals", caught)
	if err := host.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = host.Wait()
	if got := host.ProcessState.ExitCode(); got != 143 && got != -1 {
		t.Errorf("exit status %d", got)
	}
}

// wantLeft waits for a client that leaves its command.
func wantLeft(t *testing.T, host *exec.Cmd, complaint *strings.Builder, within time.Duration) {
	t.Helper()
	begun := time.Now()
	_ = host.Wait()
	if took := time.Since(begun); took > within {
		t.Errorf("the client ended after %v, want %v at most", took, within)
	}
	lines := strings.Count(complaint.String(), "cocoon-agent:") // a shell has its own to say
	if got := host.ProcessState.ExitCode(); got != 255 || lines != 1 || !strings.Contains(complaint.String(), "did not terminate the command") {
		t.Errorf("exit status %d, %q, want 255 and one line", got, complaint)
	}
}

// leaving is startRelaying of an agent that can be stopped.
func leaving(t *testing.T, script string, flags ...string) (host, guest *exec.Cmd, said *bufio.Reader, complaint *strings.Builder) {
	t.Helper()
	target, guest := agent(t)
	host = program(t, append(append([]string{"client", "--target", target}, flags...), "--", "sh", "-c", script)...)
	complaint = new(strings.Builder)
	host.Stderr = complaint
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, host)
	said = bufio.NewReader(out)
	if line, err := said.ReadString('\n'); line != "ready\n" {
		t.Fatalf("the script says %q, %v", line, err)
	}
	return host, guest, said, complaint
}

// stop stops all threads of an agent.
func stop(t *testing.T, guest *exec.Cmd) {
	t.Helper()
	if err := guest.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := unix.Waitid(unix.P_PID, guest.Process.Pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = guest.Process.Signal(syscall.SIGCONT) })
}

func TestSignalEndsTheClientIfTheAgentIsStuck(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			host, guest, _, complaint := leaving(t, "echo ready; while kill -0 $PPID; do sleep 0.1; done")
			stop(t, guest)
			if err := host.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			wantLeft(t, host, complaint, 10*time.Second)
		})
	}
}

func TestSecondSIGTERMEndsTheClient(t *testing.T) {
	t.Parallel()
	host, _, said, complaint := leaving(t, `trap 'echo again' TERM; echo ready; while kill -0 $PPID; do sleep 0.02; done`)
	for range 2 {
		if err := host.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if line, err := said.ReadString('\n'); line != "again\n" {
			t.Fatalf("the script says %q, %v", line, err)
		}
	}
	wantLeft(t, host, complaint, 10*time.Second)
}

func TestSecondSIGTERMReportsUnreadOutput(t *testing.T) {
	t.Parallel()
	target, _ := agent(t)
	host := program(t, "client", "--target", target, "--", "yes")
	var complaint strings.Builder
	host.Stderr = &complaint
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, host)
	const full = 60 << 10 // of 64 KiB
	eventually(t, "the client's output is full", func() bool {
		n, err := unix.IoctlGetInt(int(out.(*os.File).Fd()), unix.TIOCINQ)
		return err == nil && n > full
	})
	ended := make(chan error, 1)
	go func() { ended <- host.Wait() }() // ends with the client
	// Signals that come at the same time are one, and the client may not have taken the first yet.
	// One that comes when the client is about to exit kills it.
	next := time.NewTimer(0)
	defer next.Stop()
	sent := 0
	for waiting := true; waiting; {
		select {
		case <-ended:
			waiting = false
		case <-next.C:
			_ = host.Process.Signal(syscall.SIGTERM)
			sent++
			if sent%2 == 1 {
				next.Reset(100 * time.Millisecond)
			} else {
				next.Reset(10 * time.Second)
			}
		}
	}
	if got := host.ProcessState.ExitCode(); got != 255 || !strings.Contains(complaint.String(), "nobody has read") {
		t.Errorf("exit status %d, %q, want 255 and a word on the output", got, &complaint)
	}
}

func TestSecondSIGHUPIsTheCommands(t *testing.T) {
	t.Parallel()
	host, _, said, _ := leaving(t, `trap 'echo again' HUP; trap 'exit 9' USR1; echo ready; while kill -0 $PPID; do sleep 0.02; done`)
	for range 3 {
		if err := host.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		if line, err := said.ReadString('\n'); line != "again\n" {
			t.Fatalf("the script says %q, %v", line, err)
		}
	}
	if err := host.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(said)
	_ = host.Wait()
	if got := host.ProcessState.ExitCode(); got != 9 {
		t.Errorf("exit status %d, want 9", got)
	}
}

func TestTimeoutEndsTheClientIfTheAgentIsStuck(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes longer than 10 seconds")
	}
	t.Parallel()
	host, guest, _, complaint := leaving(t, "echo ready; while kill -0 $PPID; do sleep 0.1; done", "--timeout", "2s")
	stop(t, guest)
	wantLeft(t, host, complaint, 20*time.Second)
}
