package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCommandLine(t *testing.T) {
	parser, err := newParser(io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ args, words, guest []string }{
		{words("client true"), words("client -- command"), words("true")},
		{words("exec true -n --nope -- x"), words("client -- command"), words("true -n --nope -- x")},
		{words("client -- -n -- x"), words("client -- command"), words("-n -- x")},
		{words("client - x"), words("client -- command"), words("- x")},
		{words("client -it -- sh"), words("client -i -t -- command"), words("sh")},
		{words("client -nuroot --timeout 5 id"), words("client -n --user=root --timeout=5 -- command"), words("id")},
		{words("client -nu root id -u x"), words("client -n --user=root -- command"), words("id -u x")},
		{words("client -e=A=b env"), words("client --env=A=b -- command"), words("env")},
		{words("client --dir --tty env"), words("client --dir=--tty -- command"), words("env")},
		{[]string{"client", "--dir", "", "\xe9\xff"}, words("client --dir= -- command"), []string{"\xe9\xff"}},
		{[]string{"client", "--", ""}, words("client -- command"), []string{""}},
		{words("client --keep --timout=5s -- echo"), words("client --timout=5s"), nil},
		{words("client -nq echo"), words("client -q"), nil},
		{words("client --help"), words("client --help"), nil},
		{words("kill a -W 3 b --force"), words("kill --timeout=3 --force -- a b"), nil},
		{words("ping -c3"), words("ping --count=3"), nil},
		{words("--help"), words("--help"), nil},
		{words("help"), words("--help"), nil},
		{words("help ping"), words("ping --help"), nil},
		{words("--version"), words("version"), nil},
	} {
		got, err := readLine(parser.Model.Node, test.args)
		if err != nil || !slices.Equal(got.words, test.words) || !slices.Equal(got.guest, test.guest) {
			t.Errorf("%q: %q for kong and %q for the guest, %v, want %q and %q",
				test.args, got.words, got.guest, err, test.words, test.guest)
		}
	}
}

func TestUsageSaysWhereFlagsEnd(t *testing.T) {
	for command, want := range map[string]string{
		"client": "cocoon-agent client (exec) [flags] <command> ...", "rsh": "cocoon-agent rsh [flags] <name> ...", "kill": "cocoon-agent kill <handle> ... [flags]",
	} {
		var out strings.Builder
		status := run([]string{command, "--help"}, &out, io.Discard)
		if line, _, _ := strings.Cut(out.String(), "\n"); status != 0 || line != "Usage: "+want {
			t.Errorf("%s --help = %d with %q, want %q", command, status, line, "Usage: "+want)
		}
	}
}

// The grammar of a command takes memory until the first collection, which an agent at rest does
// not come to.
func TestAgentReadsNoGrammarOfOtherCommands(t *testing.T) {
	for _, test := range []struct {
		args   string
		client bool // whether the parser knows that command
	}{{"serve --port 1024", false}, {"client serve", true}, {"help serve", true}, {"", true}} {
		parser, err := newParserFor(words(test.args), io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		app := parser.Model.Node
		if got := commandNamed(app, "client") != nil; got != test.client || commandNamed(app, serveName) == nil {
			t.Errorf("%q: the parser knows the command client: %v, want %v; commands %s", test.args, got, test.client, commandNames(app))
		}
	}
}

// kong's own way would make U+FFFD of them.
func TestFlagsKeepInvalidUTF8(t *testing.T) {
	var g grammar
	parser, err := newParserOf(&g, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	line, err := readLine(parser.Model.Node, []string{
		"client", "--dir", "/\xe9", "-e", "A=\xe9,\xff", "--env=B=\xe9", "-u\xe9", "--target", "unix:///\xe9", "--", "x",
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(line.words); err != nil {
		t.Fatal(err)
	}
	c := &g.Client
	if c.Dir != "/\xe9" || !slices.Equal(c.Env, []string{"A=\xe9,\xff", "B=\xe9"}) || c.User != "\xe9" || c.Target != "unix:///\xe9" {
		t.Errorf("--dir %q, --env %q, --user %q, --target %q: want the bytes as they are", c.Dir, c.Env, c.User, c.Target)
	}
}

func words(s string) []string { return strings.Fields(s) }

func TestSizes(t *testing.T) {
	for text, want := range map[string]size{
		"1": 1, "65536": 65536, "1K": 1 << 10, "1k": 1 << 10, "64m": 64 << 20, "256Mi": 256 << 20, "256MiB": 256 << 20,
		"256mb": 256 << 20, "1.5G": 3 << 29, "0.5k": 512, "2T": 2 << 40, "100B": 100, "1.7K": 1740,
		"18446744073709551615": 1<<64 - 1, "16777215T": 16777215 << 40,
	} {
		var got size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q is %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "0", "0K", "K", "-1", "+1", "1.5", "1..5K", ".K", "1e3", "1P", "1KK", "1iBiB", "1 K", "16777216T", "1e30G", "0.0001K",
		"18446744073709551616", "9999999999.9T", "0x10", "1_000", "NaN", "Inf", "kmgt", "1mg",
	} {
		var got size
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %d, want an error", text, got)
		}
	}
}

func TestTimes(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"5": 5 * time.Second, "1.5": 1500 * time.Millisecond, "0": 0, "500ms": 500 * time.Millisecond, "1m30s": 90 * time.Second,
		"1e-10": 1, "-1": -time.Second, ".1": 100 * time.Millisecond,
	} {
		if got, err := readDuration(text); err != nil || got != want {
			t.Errorf("%q is %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "soon", "5 s", "1d", "1e300", "NaN", "Inf", "0x1p4s"} {
		if got, err := readDuration(text); err == nil {
			t.Errorf("%q is %v, want an error", text, got)
		}
	}
}
