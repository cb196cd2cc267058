package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
)

// A tmuxServer runs programs in terminals, and knows what their screens show.
type tmuxServer struct {
	t      *testing.T
	socket string
}

func newTmux(t *testing.T) *tmuxServer {
	t.Helper()
	for _, program := range []string{"tmux", vim(), "less", "top", "bash"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no %s: apt-get install tmux vim-tiny less procps bash", program)
		}
	}
	s := &tmuxServer{t, filepath.Join(t.TempDir(), "tmux")}
	t.Cleanup(func() { _ = s.command("kill-server").Run() })
	s.window("anchor", "cat") // the server ends with its last window
	return s
}

// vim is its name here: a small one has another.
func vim() string {
	if _, err := exec.LookPath("vim"); err == nil {
		return "vim"
	}
	return "vim.tiny"
}

func (s *tmuxServer) command(args ...string) *exec.Cmd {
	cmd := exec.Command("tmux", append([]string{"-S", s.socket, "-f", "/dev/null"}, args...)...)
	cmd.Env = append(os.Environ(), "TERM=xterm", "LC_ALL=C.UTF-8")
	return cmd
}

// window runs a program in a terminal of its own, of 80 columns and 24 rows.
func (s *tmuxServer) window(name string, argv ...string) {
	s.t.Helper()
	out, err := s.command(append([]string{"new-session", "-d", "-s", name, "-x", "80", "-y", "24"}, argv...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("tmux: %v: %s", err, out)
	}
}

func (s *tmuxServer) keys(name string, keys ...string) {
	s.t.Helper()
	if out, err := s.command(append([]string{"send-keys", "-t", name}, keys...)...).CombinedOutput(); err != nil {
		s.t.Fatalf("tmux: %v: %s", err, out)
	}
}

// screen returns what the terminal shows, and whether it is the alternate screen.
func (s *tmuxServer) screen(name string) (text, state string) {
	s.t.Helper()
	out, err := s.command("capture-pane", "-p", "-t", name).Output()
	if err != nil {
		s.t.Fatalf("tmux: %v", err)
	}
	modes, err := s.command("display-message", "-p", "-t", name,
		"alternate #{alternate_on}, keypad #{keypad_flag}, cursor keys #{keypad_cursor_flag}, mouse #{mouse_any_flag}, cursor #{cursor_flag} at #{cursor_x},#{cursor_y}").Output()
	if err != nil {
		s.t.Fatalf("tmux: %v", err)
	}
	return strings.TrimRight(string(out), " \n"), strings.TrimSpace(string(modes))
}

// Programs of each kind are detached from and attached to: the screen is the same as that
// of a terminal that was there from the beginning.
func TestAttachShowsTheSameScreen(t *testing.T) {
	tmux := newTmux(t)
	target, _ := agent(t)
	text := filepath.Join(t.TempDir(), "text")
	var lines strings.Builder
	for i := range 500 {
		fmt.Fprintf(&lines, "line %d of the text, with \tsome words\n", i+1)
	}
	if err := os.WriteFile(text, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		script string
		keys   []string
		shows  string // once the program is ready
	}{
		{name: "vim", script: "exec " + vim() + " -u NONE -n -N " + text, keys: []string{"1", "0", "0", "G", "i", "inserted", "Escape"}, shows: "inserted"},
		{name: "less", script: "exec less " + text, keys: []string{"Space", "Space", "/", "line 77", "Enter"}, shows: "line 77"},
		{name: "top", script: "exec top -d 1000 -p $$", shows: "PID USER"},
		{name: "bash", script: "PS1='$ ' exec bash --norc --noprofile", keys: []string{"seq 30; printf '\\e[31mred\\e[m\\n'", "Enter"}, shows: "red\n$"},
		{name: "shell after vim", script: "seq 1 5; " + vim() + " -u NONE -n -N -c q " + text + "; seq 6 9; exec cat", shows: "9"},
		{name: "tmux", script: "exec tmux -f /dev/null -S " + filepath.Join(t.TempDir(), "inner") + " new-session 'seq 10; exec cat'", shows: "10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := program(t, "client", "--target", target, "-d", "-t", "--rows", "24", "--cols", "80", "-e", "TERM=screen", "-e", "LC_ALL=C.UTF-8", "--", "sh", "-c", c.script).Output()
			if err != nil {
				t.Fatalf("client -d: %v", err)
			}
			handle := strings.TrimSpace(string(out))
			attach := []string{os.Args[0], "attach", "--target", target, handle}
			control, late := "control "+strings.ReplaceAll(c.name, ".", ""), "late "+c.name
			tmux.window(control, asProgram(attach)...)
			if len(c.keys) > 0 {
				agenttest.Eventually(t, "a first screen", func() bool { text, _ := tmux.screen(control); return text != "" })
				tmux.keys(control, c.keys...)
			}
			agenttest.Eventually(t, "the program", func() bool {
				text, _ := tmux.screen(control)
				return strings.Contains(text, c.shows)
			})
			tmux.window(late, asProgram(attach)...)
			begun := time.Now()
			var got, want, gotState, wantState string
			agenttest.Eventually(t, "the same screen", func() bool {
				got, gotState = tmux.screen(late)
				want, wantState = tmux.screen(control)
				return got == want && gotState == wantState || time.Since(begun) > 20*time.Second
			})
			if got != want || gotState != wantState {
				t.Errorf("a terminal that was attached later shows\n%s\n%s\nwant\n%s\n%s", got, gotState, want, wantState)
			}
			t.Logf("the same screen after %v: %s", time.Since(begun).Round(10*time.Millisecond), gotState)
			if out, err := program(t, "kill", "--target", target, "-f", handle).CombinedOutput(); err != nil {
				t.Errorf("kill: %v: %s", err, out)
			}
		})
	}
}

// asProgram returns what runs this test's binary as the program.
func asProgram(argv []string) []string {
	return append([]string{"env", asAgent + "=1"}, argv...)
}
