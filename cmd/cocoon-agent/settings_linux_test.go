package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
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
		got, err := withSettings(args)
		if want := slices.Concat([]string{"serve", "--port", "2000", "--deny", "reseed"}, args[1:]); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
		if level := os.Getenv("AGENT_LOG_LEVEL"); level != "debug" {
			t.Errorf("log level %q", level)
		}
	}
	for _, args := range [][]string{nil, {"serve"}, {"serve", "--settings"}, {"serve", "--settings", path + ".none"}, {"client", "--settings", path}} {
		if got, err := withSettings(args); err != nil || !slices.Equal(got, args) {
			t.Errorf("%q: %q, %v", args, got, err)
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
	} {
		if _, err := readSettings(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
