//go:build linux || windows

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// settingsFlag names a file with options for "serve".
const settingsFlag = "--settings"

// Settings that the file may have.
const (
	optionsSetting = "COCOON_AGENT_OPTIONS"
	levelSetting   = "AGENT_LOG_LEVEL"
)

// withSettings puts the options of the settings file that args name before those of args. With an
// error, args have those of the file that could be read.
func withSettings(args []string) ([]string, error) {
	if len(args) == 0 || args[0] != serveName {
		return args, nil
	}
	path := ""
	for i, arg := range args {
		switch value, isLong := strings.CutPrefix(arg, settingsFlag+"="); {
		case isLong:
			path = value
		case arg == settingsFlag && i+1 < len(args):
			path = args[i+1]
		}
	}
	if path == "" {
		return args, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return args, nil
	}
	if err != nil {
		return args, &lineError{serveName, fmt.Errorf("%s: %w", settingsFlag, err)}
	}
	settings, err := readSettings(string(text))
	if err != nil {
		err = &lineError{serveName, fmt.Errorf("%s: %w", path, err)}
	}
	if level := settings[levelSetting]; level != "" && os.Getenv(levelSetting) == "" {
		_ = os.Setenv(levelSetting, level) // which cannot fail: it has no NUL
	}
	return slices.Concat(args[:1], strings.Fields(settings[optionsSetting]), args[1:]), err
}

// readSettings reads lines of the form NAME=VALUE. A value may be quoted. An empty line or
// one that begins with "#" says nothing. The first line that is wrong is the error.
func readSettings(text string) (map[string]string, error) {
	settings := make(map[string]string)
	var wrong error
	number := 0
	for line := range strings.Lines(text) {
		number++
		if err := readSetting(strings.TrimSpace(line), settings); err != nil && wrong == nil {
			wrong = fmt.Errorf("line %d: %w", number, err)
		}
	}
	return settings, wrong
}

func readSetting(line string, settings map[string]string) error {
	if line == "" || line[0] == '#' {
		return nil
	}
	name, value, ok := strings.Cut(line, "=")
	_, again := settings[name]
	switch {
	case !ok:
		return fmt.Errorf("%.64q: want NAME=VALUE", line)
	case name != optionsSetting && name != levelSetting:
		return fmt.Errorf("unknown setting %.64q: want %s or %s", name, optionsSetting, levelSetting)
	case again:
		return fmt.Errorf("%s is there twice", name)
	}
	if quote := value[:min(1, len(value))]; quote == `"` || quote == "'" {
		if len(value) < 2 || !strings.HasSuffix(value, quote) {
			return fmt.Errorf("%s: no %s at the end", name, quote)
		}
		value = value[1 : len(value)-1]
	}
	if strings.ContainsAny(value, "\"'\\\x00") {
		return fmt.Errorf(`%s: options are separated by spaces, and cannot have quotes or \`, name)
	}
	settings[name] = value
	return nil
}
