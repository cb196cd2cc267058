package screen_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/screen"
)

func TestModesBringTerminalToPresentModes(t *testing.T) {
	for _, c := range []struct {
		name, output, want string
		alternate          bool
	}{
		{name: "nothing", output: "hello\r\nworld\r\n"},
		{name: "private modes", output: "\x1b[?25l\x1b[?2004h\x1b[?1;1000h", want: "\x1b[?25l\x1b[?2004h\x1b[?1h\x1b[?1000h"},
		{name: "set and reset", output: "\x1b[?2004h$ \x1b[?2004l\x1b[?25l\x1b[?25h"},
		{name: "alternate screen", output: "\x1b[?1049h\x1b[2J", alternate: true},
		{name: "and back", output: "\x1b[?1049h\x1b[2J\x1b[?1049l"},
		{name: "old alternate screen", output: "\x1b[?47h", alternate: true},
		{name: "unknown modes", output: "\x1b[?9999h\x1b[?2026h\x1b[?12345678h"},
		{name: "line drawing", output: "\x1b(0lqk", want: "\x1b(0"},
		{name: "line drawing by shift", output: "\x1b)0\x0elqk", want: "\x1b)0\x0e"},
		{name: "ASCII again", output: "\x1b(0lqk\x1b(B\x1b)0\x0e\x0f\x1b)B"},
		{name: "keypad", output: "\x1b=", want: "\x1b="},
		{name: "numeric keypad", output: "\x1b=\x1b>"},
		{name: "insert", output: "\x1b[4h", want: "\x1b[4h"},
		{name: "scroll region", output: "\x1b[2;23r", want: "\x1b7\x1b[2;23r\x1b8"},
		{name: "whole screen", output: "\x1b[2;23r\x1b[r"},
		{name: "restored modes are no region", output: "\x1b[?2004r"},
		{name: "cursor shape", output: "\x1b[5 q", want: "\x1b[5 q"},
		{name: "default shape", output: "\x1b[5 q\x1b[ q"},
		{name: "reset", output: "\x1b[?25l\x1b[?1049h\x1b=\x1b(0\x1bc"},
		{name: "soft reset", output: "\x1b[?25l\x1b=\x1b[!p"},
		{name: "title with a sequence in it, which ends it", output: "\x1b]0;\x1b[?25l\x07x", want: "\x1b[?25l"},
		{name: "title ended by ST", output: "\x1b]0;title\x1b\\\x1b[?25l", want: "\x1b[?25l"},
		{name: "device control string", output: "\x1bP+q544e;[?25l\x1b\\"},
		{name: "cancelled sequence", output: "\x1b[?25\x18l"},
		{name: "sequence within one", output: "\x1b[?2\x1b[?25l", want: "\x1b[?25l"},
		{name: "control in a sequence", output: "\x1b[?2\r5l", want: "\x1b[?25l"},
		{name: "other intermediates", output: "\x1b#8\x1b%G\x1b[?25l", want: "\x1b[?25l"},
		{name: "endless parameters", output: "\x1b[?" + strings.Repeat("1;", 500) + "25l"},
		{name: "UTF-8", output: "grün\x1b[?25lΩ", want: "\x1b[?25l"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, step := range []int{len(c.output), 1, 3} { // sequences come in parts, too
				var tracker screen.Tracker
				for rest := []byte(c.output); len(rest) > 0; {
					n := min(step, len(rest))
					_, _ = tracker.Write(rest[:n])
					rest = rest[n:]
				}
				if got := string(tracker.Modes()); got != c.want || tracker.Alternate() != c.alternate {
					t.Errorf("after %q in steps of %d: Modes() = %q, Alternate() = %v, want %q, %v",
						c.output, step, got, tracker.Alternate(), c.want, c.alternate)
				}
			}
		})
	}
}

func TestOnMainLeavesOutAlternateScreen(t *testing.T) {
	output := "before\x1b[?1049hfirst program\x1b[?1049lbetween\x1b[?1049hsecond\x1b[?1049lafter"
	var tracker screen.Tracker
	_, _ = tracker.Write([]byte(output))
	for _, c := range []struct {
		from, to int
		want     string
	}{
		{0, len(output), "before|between|after"},
		{3, len(output), "ore|between|after"},
		{10, len(output), "between|after"},
		{0, 4, "befo"},
		{0, 20, "before"},
		{len(output), len(output), ""},
	} {
		var parts []string
		tracker.OnMain(uint64(c.from), uint64(c.to), func(from, to uint64) { parts = append(parts, output[from:to]) })
		if got := strings.Join(parts, "|"); got != c.want {
			t.Errorf("OnMain(%d, %d) = %q, want %q", c.from, c.to, got, c.want)
		}
	}
	_, _ = tracker.Write([]byte("\x1b[?1049hthird"))
	var parts []string
	tracker.OnMain(0, uint64(len(output)+13), func(from, to uint64) { parts = append(parts, fmt.Sprint(from, "-", to)) })
	if len(parts) != 3 {
		t.Errorf("OnMain with the alternate screen in use = %q, want 3 parts", parts)
	}
}

func FuzzTracker(f *testing.F) {
	f.Add([]byte("\x1b[?25l\x1b]0;t\x07\x1b[2;3r\x1b(0"), uint8(3))
	f.Fuzz(func(t *testing.T, output []byte, step uint8) {
		var whole, parts, again screen.Tracker
		_, _ = whole.Write(output)
		for rest := output; len(rest) > 0; {
			n := min(int(step)+1, len(rest))
			_, _ = parts.Write(rest[:n])
			rest = rest[n:]
		}
		modes := string(whole.Modes())
		if string(parts.Modes()) != modes || parts.Alternate() != whole.Alternate() {
			t.Errorf("Modes() = %q in parts, %q as a whole", parts.Modes(), modes)
		}
		if len(modes) > 1024 {
			t.Errorf("Modes() has %d bytes", len(modes))
		}
		_, _ = again.Write([]byte(modes))
		if string(again.Modes()) != modes {
			t.Errorf("Modes() = %q, and after these %q", modes, again.Modes())
		}
		at := uint64(0)
		whole.OnMain(0, uint64(len(output)), func(from, to uint64) {
			if from < at || from >= to || to > uint64(len(output)) {
				t.Errorf("OnMain gives %d to %d after %d", from, to, at)
			}
			at = to
		})
	})
}

func TestWithoutQueriesDropsWhatTerminalsAnswer(t *testing.T) {
	for output, want := range map[string]string{
		"plain text\r\n":                            "plain text\r\n",
		"a\x1b[6nb\x1b[cc\x1b[>cd\x1b[5n":           "abcd",
		"\x1b[31mred\x1b[m \x1b[?25l\x1b[2;3r":      "\x1b[31mred\x1b[m \x1b[?25l\x1b[2;3r",
		"\x1b[?2026$p\x1b[!p\x1b[>0q\x1b[5 q":       "\x1b[!p\x1b[5 q",
		"\x1b]10;?\x07\x1b]0;title\x07x":            "\x1b]0;title\x07x",
		"\x1b]11;?\x1b\\y\x1bP+q544e\x1b\\z":        "yz",
		"\x1bP$qm\x1b\\\x1bZ\x05w\x1b[18t\x1b[8;1t": "w\x1b[8;1t",
		"\x1b[?u\x1b[u\x1b7\x1b8":                   "\x1b[u\x1b7\x1b8",
		"cut \x1b[3":                                "cut \x1b[3",
		"cut \x1b":                                  "cut \x1b",
		"\x1b]0;cut":                                "\x1b]0;cut",
		"\x1b]0;broken\x1b[6nx":                     "\x1b]0;brokenx",
	} {
		if got := string(screen.WithoutQueries([]byte(output))); got != want {
			t.Errorf("WithoutQueries(%q) = %q, want %q", output, got, want)
		}
	}
}
