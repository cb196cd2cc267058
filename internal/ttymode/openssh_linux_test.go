package ttymode_test

import (
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/cocoonstack/cocoon-agent/internal/ttymode"
)

// keys are the characters that OpenSSH 9.2 for Linux carries, by RFC 4254's opcodes and
// stty(1)'s names.
var keys = map[uint8]string{
	1: "intr", 2: "quit", 3: "erase", 4: "kill", 5: "eof", 6: "eol", 7: "eol2", 8: "start", 9: "stop", 10: "susp",
	12: "rprnt", 13: "werase", 14: "lnext", 18: "discard",
}

// flags are those that it carries. It also sends PENDIN (62), the size of characters and their
// parity (90 to 93), and the speeds (128, 129). A pseudo-terminal does not act on them.
var flags = map[uint8]string{
	30: "ignpar", 31: "parmrk", 32: "inpck", 33: "istrip", 34: "inlcr", 35: "igncr", 36: "icrnl", 37: "iuclc",
	38: "ixon", 39: "ixany", 40: "ixoff", 41: "imaxbel", 42: "iutf8",
	50: "isig", 51: "icanon", 52: "xcase", 53: "echo", 54: "echoe", 55: "echok", 56: "echonl", 57: "noflsh",
	58: "tostop", 59: "iexten", 60: "echoctl", 61: "echoke",
	70: "opost", 71: "olcuc", 72: "onlcr", 73: "ocrnl", 74: "onocr", 75: "onlret",
}

func terminal(t *testing.T) *os.File {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close(); _ = master.Close() })
	return slave
}

func setOn(t *testing.T, slave *os.File, m ttymode.Modes) {
	t.Helper()
	if err := ttymode.Set(int(slave.Fd()), m); err != nil {
		t.Fatalf("Set(%v) = %v", m, err)
	}
}

// stty returns what "stty -a" says of a terminal, by word or setting of a key.
func stty(t *testing.T, slave *os.File) map[string]bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "stty", "-a")
	cmd.Stdin = slave
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("stty: %v", err)
	}
	said := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(line, ";") {
			for _, word := range strings.Fields(line) {
				said[word] = true
			}
			continue
		}
		for setting := range strings.SplitSeq(line, ";") {
			said[strings.TrimSpace(setting)] = true
		}
	}
	return said
}

func TestModesOfATerminalAreOpenSSHs(t *testing.T) {
	got, err := ttymode.Of(int(terminal(t).Fd()))
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(maps.Keys(keys))
	want = append(want, slices.Sorted(maps.Keys(flags))...)
	if got := slices.Sorted(maps.Keys(got)); !slices.Equal(got, want) {
		t.Errorf("Of has the opcodes %v, want %v", got, want)
	}
}

func TestOpcodesAreThoseOfOpenSSH(t *testing.T) {
	slave := terminal(t)
	off := ttymode.Modes{}
	for opcode := range keys {
		off[opcode] = 255
	}
	for opcode := range flags {
		off[opcode] = 0
	}
	setOn(t, slave, off)
	before := stty(t, slave)
	check := func(opcode uint8, value uint32, was, is string) {
		t.Helper()
		m := maps.Clone(off)
		m[opcode] = value
		setOn(t, slave, m)
		want := maps.Clone(before)
		delete(want, was)
		want[is] = true
		if got := stty(t, slave); !before[was] || !maps.Equal(got, want) {
			t.Errorf("Set(opcode %d to %d): stty says %v, want %q instead of %q in %v", opcode, value, got, is, was, before)
		}
	}
	for opcode, name := range keys {
		check(opcode, 'X'-'@', name+" = <undef>", name+" = ^X")
	}
	for opcode, name := range flags {
		check(opcode, 1, "-"+name, name)
	}
}

func TestModesArriveAsTheyWereRead(t *testing.T) {
	from, to := terminal(t), terminal(t)
	for name, m := range map[string]ttymode.Modes{
		"as it is":         {},
		"some changed":     {1: 'X' - '@', 3: 8, 10: 255, 38: 0, 42: 1, 58: 1},
		"without UTF-8":    {42: 0},
		"without a signal": {50: 0, 51: 0, 53: 0, 70: 0},
	} {
		setOn(t, from, m)
		read, err := ttymode.Of(int(from.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := ttymode.Encode(read)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := ttymode.Decode(encoded)
		if err != nil {
			t.Fatal(err)
		}
		setOn(t, to, decoded)
		if got, err := ttymode.Of(int(to.Fd())); err != nil || !maps.Equal(got, read) {
			t.Errorf("%s: the other terminal has %v, %v, want %v", name, got, err, read)
		}
	}
}

// Values that cannot be change nothing: of keys those above 255. Flags are on if they are not 0.
func TestSetIgnoresValuesThatCannotBe(t *testing.T) {
	slave := terminal(t)
	setOn(t, slave, ttymode.Modes{1: 'X' - '@', 53: 0})
	setOn(t, slave, ttymode.Modes{1: 256, 3: 1<<32 - 1, 53: 7, 17: 3, 159: 9})
	said := stty(t, slave)
	for _, want := range []string{"intr = ^X", "erase = ^?", "echo", "iutf8"} {
		if !said[want] {
			t.Errorf("stty says %v, want %q", said, want)
		}
	}
}

func TestModesOfNoTerminalAreTheSystemsError(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if m, err := ttymode.Of(int(f.Fd())); err == nil {
		t.Errorf("Of(%s) = %v, want an error", os.DevNull, m)
	}
}
