//go:build linux

package proc_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// Terminals of the guest in these tests, and in the agent's reserve.
const (
	allTerminals = 10
	reserved     = 4
)

// withFewTerminals is inOwnProcess with terminals that nobody else uses.
func withFewTerminals(t *testing.T) bool {
	t.Helper()
	asRoot(t)
	if !inOwnProcess(t, withOwnMounts) {
		return false
	}
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("no bash here")
	}
	options := fmt.Sprintf("newinstance,ptmxmode=666,mode=620,max=%d", allTerminals)
	if err := unix.Mount("devpts", "/dev/pts", "devpts", 0, options); err != nil {
		t.Skipf("no terminals of our own: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount("/dev/pts", unix.MNT_DETACH) })
	return true
}

// takeTerminals has an ordinary user take all terminals that are left, until free
// is called. It returns how many those are.
func takeTerminals(t *testing.T) (n int, free func()) {
	t.Helper()
	hog := exec.Command("bash", "-c", `n=0; while { exec {fd}<>/dev/ptmx; } 2>/dev/null; do n=$((n+1)); done; echo $n; read -r line`)
	hog.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	stdin, err := hog.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := hog.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := hog.Start(); err != nil {
		t.Fatal(err)
	}
	freed := false
	free = func() {
		if !freed {
			freed = true
			_ = stdin.Close()
			_ = hog.Wait()
		}
	}
	t.Cleanup(free)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if _, scanErr := fmt.Sscan(line, &n); err != nil || scanErr != nil {
		t.Fatalf("the user says %q, %v", line, err)
	}
	return n, free
}

// holdTerminal starts a command that keeps its terminal until it is let go. It
// returns the terminal's name, and a hash of the modes that it began with.
func holdTerminal(t *testing.T, s *proc.Spawner) (name, modes string, letGo func()) {
	t.Helper()
	c, press := terminal(t, s, proc.Spec{Argv: shell("tty; stty -a | md5sum; stty raw -echo; echo ready; read -r line"), User: "65534:65534"})
	c.stdout.awaitText(t, "ready")
	lines := strings.Split(c.stdout.String(), "\r\n")
	if len(lines) < 2 || !strings.HasPrefix(lines[0], "/dev/pts/") {
		t.Fatalf("output %q", c.stdout)
	}
	return lines[0], lines[1], func() { press("\n"); c.finish(t) }
}

func wantNoTerminal(t *testing.T, s *proc.Spawner) {
	t.Helper()
	refused(t, s, proc.Spec{Argv: []string{"true"}, Terminal: &proc.Terminal{}}, proc.ErrResources)
}

func TestReserveOutlastsAUserWhoTakesAll(t *testing.T) {
	if !withFewTerminals(t) {
		return
	}
	s := newSpawner(t)
	_, want, letGo := holdTerminal(t, s)
	letGo()
	if n, _ := takeTerminals(t); n != allTerminals-reserved {
		t.Fatalf("a user takes %d terminals, want %d", n, allTerminals-reserved)
	}
	for range 3 { // each that ends makes room for another in reserve
		seen := map[string]bool{}
		var held []func()
		for range reserved {
			name, modes, letGo := holdTerminal(t, s)
			if modes != want || seen[name] {
				t.Errorf("terminal %q with modes %q after %v, want another with modes %q", name, modes, seen, want)
			}
			seen[name] = true
			held = append(held, letGo)
		}
		wantNoTerminal(t, s)
		for _, letGo := range held {
			letGo()
		}
	}
}

func TestReserveIsFilledWhenTerminalsAreFree(t *testing.T) {
	if !withFewTerminals(t) {
		return
	}
	_, free := takeTerminals(t)
	s := newSpawner(t)
	wantNoTerminal(t, s)
	free()
	_, _, letGo := holdTerminal(t, s)
	if n, _ := takeTerminals(t); n != allTerminals-reserved-1 {
		t.Errorf("a user takes %d terminals, want %d", n, allTerminals-reserved-1)
	}
	_, _, letGoToo := holdTerminal(t, s)
	letGo()
	letGoToo()
}

func TestTerminalInReserveIsLocked(t *testing.T) {
	if !withFewTerminals(t) {
		return
	}
	newSpawner(t)
	slaves, _ := filepath.Glob("/dev/pts/[0-9]*")
	if len(slaves) != reserved {
		t.Fatalf("there are %v, want %d", slaves, reserved)
	}
	for _, slave := range slaves {
		f, err := os.OpenFile(slave, os.O_RDWR|unix.O_NOCTTY, 0)
		if !errors.Is(err, unix.EIO) {
			t.Errorf("open %s: %v, want %v", slave, err, unix.EIO)
			_ = f.Close()
		}
	}
}

func TestCloseFreesTheTerminalsInReserve(t *testing.T) {
	if !withFewTerminals(t) {
		return
	}
	s, err := proc.NewSpawner()
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, s, proc.Spec{Argv: []string{"true"}, Terminal: &proc.Terminal{}})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	c.finish(t) // fills nothing any more
	if slaves, _ := filepath.Glob("/dev/pts/[0-9]*"); len(slaves) != 0 {
		t.Errorf("there are %v", slaves)
	}
}

func TestSpawnerNeedsNoTerminals(t *testing.T) {
	asRoot(t)
	if !inOwnProcess(t, withOwnMounts) {
		return
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := unix.Mount("none", "/dev", "tmpfs", 0, ""); err != nil {
		t.Skipf("no /dev of our own: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount("/dev", unix.MNT_DETACH) })
	if err := unix.Mknod(os.DevNull, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	s := newSpawner(t)
	if got := output(t, s, proc.Spec{Argv: shell("echo up")}); got != "up\n" {
		t.Errorf("output %q", got)
	}
	refused(t, s, proc.Spec{Argv: []string{"true"}, Terminal: &proc.Terminal{}}, proc.ErrUnsupported)
}
