//go:build linux

package client_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/client"
)

func TestTTYHasItsModes(t *testing.T) {
	c, _ := dial(t)
	for name, test := range map[string]struct {
		modes client.TerminalModes
		want  []string
	}{
		"none":      {nil, []string{" iutf8", "erase = ^?;", "intr = ^C;"}},
		"keys":      {client.TerminalModes{1: 'X' - '@', 3: 8, 10: 255}, []string{" iutf8", "erase = ^H;", "intr = ^X;", "susp = <undef>;"}},
		"flags":     {client.TerminalModes{38: 0, 42: 0}, []string{"-ixon", "-iutf8"}},
		"unknown":   {client.TerminalModes{17: 1, 159: 1 << 31}, []string{"intr = ^C;"}},
		"too large": {client.TerminalModes{1: 256}, []string{"intr = ^C;"}},
	} {
		cmd := c.CommandContext(patiently(t), "stty", "-a")
		cmd.TTY = &client.TTY{Modes: test.modes}
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("Output with %s = %v", name, err)
		}
		for _, want := range test.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: stty -a says %q, want %q in it", name, out, want)
			}
		}
	}
}

func TestStartRefusesModesOfNoOpcode(t *testing.T) {
	c, _ := dial(t)
	for _, opcode := range []uint8{0, 160, 255} {
		cmd := c.CommandContext(patiently(t), "true")
		cmd.TTY = &client.TTY{Modes: client.TerminalModes{opcode: 1}}
		err := cmd.Start()
		if want := fmt.Sprintf("opcode %d:", opcode); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("opcode %d: Start = %v, want %q in it", opcode, err, want)
		}
	}
}

func TestResizeToSetsPixels(t *testing.T) {
	c, _ := dial(t)
	cmd := c.CommandContext(patiently(t), "cat")
	cmd.TTY = &client.TTY{Rows: 30, Cols: 100, WidthPX: 800, HeightPX: 480}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = io.Discard
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wantWindow := func(want unix.Winsize) {
		t.Helper()
		// The agent is of this machine.
		slave, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/0", cmd.PID()), os.O_RDWR|syscall.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer slave.Close()
		if got, err := unix.IoctlGetWinsize(int(slave.Fd()), unix.TIOCGWINSZ); err != nil || *got != want {
			t.Errorf("window %+v, %v, want %+v", got, err, want)
		}
	}
	wantWindow(unix.Winsize{Row: 30, Col: 100, Xpixel: 800, Ypixel: 480})
	if err := cmd.ResizeTo(client.TTY{Rows: 24, Cols: 80, WidthPX: 65535, HeightPX: 384}); err != nil {
		t.Error(err)
	}
	wantWindow(unix.Winsize{Row: 24, Col: 80, Xpixel: 65535, Ypixel: 384})
	if err := cmd.Resize(50, 132); err != nil {
		t.Error(err)
	}
	wantWindow(unix.Winsize{Row: 50, Col: 132})
	wantKind(t, cmd.ResizeTo(client.TTY{WidthPX: 800, HeightPX: 480}), client.BadRequest)
	if err := stdin.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestModesOfNoTerminalAreNotATTY(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if m, err := client.ModesOf(null); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("ModesOf = %v, %v, want %v", m, err, unix.ENOTTY)
	}
}
