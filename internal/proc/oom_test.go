//go:build linux

package proc_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// forksFirst is a program whose first five instructions that matter are fork(2): of each
// process there are 32. They wait for a signal.
func forksFirst(tb testing.TB) (path string) {
	tb.Helper()
	if runtime.GOARCH != "amd64" {
		tb.Skip("the program is for amd64")
	}
	const code = "\xbb\x05\x00\x00\x00" + // mov $5, %ebx
		"\xb8\x39\x00\x00\x00\x0f\x05" + // 1: mov $57, %eax; syscall (fork)
		"\xff\xcb\x75\xf5" + // dec %ebx; jnz 1b
		"\xb8\x22\x00\x00\x00\x0f\x05" + // 2: mov $34, %eax; syscall (pause)
		"\xeb\xf7" // jmp 2b
	const headers, base = 64 + 56, 0x400000
	elf := make([]byte, headers)
	put := binary.LittleEndian
	copy(elf, "\x7fELF\x02\x01\x01")
	put.PutUint16(elf[16:], 2)            // executable
	put.PutUint16(elf[18:], 62)           // x86-64
	put.PutUint64(elf[24:], base+headers) // entry
	put.PutUint64(elf[32:], 64)           // program headers: their offset,
	put.PutUint16(elf[54:], 56)           // size
	put.PutUint16(elf[56:], 1)            // and number
	put.PutUint32(elf[64:], 1)            // to be loaded
	put.PutUint32(elf[68:], 5)            // readable, executable
	put.PutUint64(elf[80:], base)         // where
	put.PutUint64(elf[96:], uint64(headers+len(code)))
	put.PutUint64(elf[104:], uint64(headers+len(code)))
	path = file(tb, "forks", string(elf)+code, 0o755)
	if err := os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755); err != nil { // of tb.TempDir
		tb.Fatal(err)
	}
	return path
}

// Processes that a protected agent's command forks at once inherit the protection.
func TestOOMKillerTakesWhatIsForkedAtOnce(t *testing.T) {
	if !inOwnProcess(t, asItIs) {
		return
	}
	score := "0\n"
	if has(unix.CAP_SYS_RESOURCE) {
		if err := proc.Protect(); err != nil {
			t.Fatal(err)
		}
	} else {
		proc.ForceScores(0, 500)
		score = "500\n"
	}
	spec := proc.Spec{Argv: []string{forksFirst(t)}, Dir: "/"}
	if os.Geteuid() == 0 {
		spec.User = nobody
	}
	s := newCgroupSpawner(t)
	var all []*child
	for range 20 {
		all = append(all, start(t, s, spec))
	}
	for _, c := range all {
		var last string
		if !poll(func() bool { last = spared(c, score); return last == "" }) {
			t.Errorf("32 processes that the OOM killer takes: %s", last)
		}
	}
	var ending sync.WaitGroup
	for _, c := range all {
		ending.Go(func() { c.Terminate(0) })
	}
	ending.Wait()
}

// spared says what keeps c from having 32 processes with an oom_score_adj.
func spared(c *child, score string) string {
	pids := c.Members()
	for _, pid := range pids {
		if got, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid)); err != nil || string(got) != score {
			return fmt.Sprintf("process %d has %q, %v", pid, got, err)
		}
	}
	if len(pids) != 32 {
		return fmt.Sprintf("there are %d", len(pids))
	}
	return ""
}

// Root may protect one of its processes, as sshd does. A process of another
// user can only have inherited it.
func TestOOMScoreOfRootsOwnChoiceIsLeft(t *testing.T) {
	asRoot(t)
	s := newCgroupSpawner(t)
	for user, want := range map[string]string{"": "300\n", nobody: "0\n"} {
		c := start(t, s, proc.Spec{Argv: []string{"sleep", "1000"}, User: user, Dir: "/"})
		path := fmt.Sprintf("/proc/%d/oom_score_adj", c.PID())
		write(t, path, "300")
		c.MakeOrdinaryLater(c.PID(), 300)
		if got, err := os.ReadFile(path); string(got) != want {
			t.Errorf("user %q: oom_score_adj = %q, %v, want %q", user, got, err, want)
		}
	}
}
