package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestSettingsComeBeforeOtherOptions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "settings")
	const text = "# a comment\n\n  COCOON_AGENT_OPTIONS=\"--port 2000   --deny reseed\" \nAGENT_LOG_LEVEL=debug\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AGENT_LOG_LEVEL", "")
	for _, args := range [][]string{{"serve", "--settings", path, "--port", "1"}, {"serve", "--settings=" + path, "--port", "1"}} {
		got, err := fileOptions(args)
		if want := []string{"--port=2000", "--deny=reseed"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
		if level := os.Getenv("AGENT_LOG_LEVEL"); level != "debug" {
			t.Errorf("log level %q", level)
		}
	}
	for _, args := range [][]string{nil, {"serve"}, {"serve", "--settings", path + ".none"}, {"serve", "--help", "--settings", "/"}, {"client", "--settings", path}} {
		if got, err := fileOptions(args); err != nil || got != nil {
			t.Errorf("fileOptions(%q) = %q, %v, want none", args, got, err)
		}
	}
}

func TestSettingsThatAreWrong(t *testing.T) {
	for text, want := range map[string]string{
		"COCOON_AGENT_OPTION=--deny exec":                      `line 1: unknown setting "COCOON_AGENT_OPTION": want COCOON_AGENT_OPTIONS or AGENT_LOG_LEVEL`,
		"#\nCOCOON_AGENT_OPTIONS --deny exec":                  `line 2: "COCOON_AGENT_OPTIONS --deny exec": want NAME=VALUE`,
		"export COCOON_AGENT_OPTIONS=--deny exec":              `line 1: unknown setting "export COCOON_AGENT_OPTIONS"`,
		"COCOON_AGENT_OPTIONS=\"--deny exec":                   `line 1: COCOON_AGENT_OPTIONS: no " at the end`,
		"COCOON_AGENT_OPTIONS=\"":                              `no " at the end`,
		"COCOON_AGENT_OPTIONS=--deny \\\nexec":                 `line 1: COCOON_AGENT_OPTIONS: options are separated by spaces, and cannot have quotes or \`,
		"COCOON_AGENT_OPTIONS=--forward 'unix:/a b'":           "cannot have quotes",
		"COCOON_AGENT_OPTIONS=--port 1\nCOCOON_AGENT_OPTIONS=": "line 2: COCOON_AGENT_OPTIONS is there twice",
		"# c\rCOCOON_AGENT_OPTIONS=--deny exec\r":              "line 1: want lines that end with a line feed",
	} {
		if _, err := readSettings(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// Nothing in the file may take what the command line says for its own, or end the program.
func TestSettingsThatWouldTakeTheCommandLine(t *testing.T) {
	dir := t.TempDir()
	for options, want := range map[string]string{
		"--user":                         "--user",
		"--user --deny=exec":             `--user: its value "--deny=exec" is an option`,
		"--check":                        "--check belongs to the command line",
		"--deny exec --help":             "--help belongs to the command line",
		"-h":                             "-h belongs to the command line",
		"--init=true":                    "--init belongs to the command line",
		"--settings other":               "--settings belongs to the command line",
		"--ready-fd=6":                   "--ready-fd belongs to the command line",
		"--answer-if-invalid=false":      "--answer-if-invalid belongs to the command line",
		"--denny exec --port 2000":       "unknown flag --denny",
		"serve":                          "unexpected argument serve",
		"--port 2000 -- --deny=exec":     "unexpected argument",
		"--listen unix:///x --port 2000": "--port and --listen can't be used together",
	} {
		path := filepath.Join(dir, "settings")
		if err := os.WriteFile(path, []byte("COCOON_AGENT_OPTIONS="+options), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := fileOptions([]string{"serve", "--settings", path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v, want %q", options, got, err, want)
		}
	}
}

func TestSettingsFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	fifo, link, long := filepath.Join(dir, "fifo"), filepath.Join(dir, "link"), filepath.Join(dir, "long")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "none"), link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(long, []byte(strings.Repeat("#\n", maxSettings)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{fifo}, {link}, {long}, {dir}, {"/dev/zero"}, {""}, {long, "--settings", long}, {filepath.Join(dir, "none"), "--check"},
	} {
		if got, err := fileOptions(append([]string{"serve", "--settings"}, args...)); err == nil {
			t.Errorf("%q: taken: %q", args, got)
		}
	}
}

func TestValueThatIsAnOption(t *testing.T) {
	for _, words := range [][]string{{"serve", "--user=--deny=exec"}, {"serve", "--port=1", "--listen=--check"}} {
		if err := checkValues(words); err == nil {
			t.Errorf("%q is taken", words)
		}
	}
	for _, words := range [][]string{{"serve", "--shutdown-grace=-1s"}, {"client", "--dir=--x"}} {
		if err := checkValues(words); err != nil {
			t.Errorf("checkValues(%q) = %v, want nil", words, err)
		}
	}
}
