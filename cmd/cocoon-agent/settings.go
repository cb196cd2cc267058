//go:build linux || windows

package main

import (
	"errors"
	"fmt"
	"io"
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

// maxSettings is how long the file may be, in bytes.
const maxSettings = 64 << 10

// ownFlags are of the command line alone: they say what the program is to do.
var ownFlags = []string{"--check", "--help", "-h", answerFlag, initFlag, settingsFlag, "--ready-fd", "--service"}

// fileOptions returns the options of the settings file that args name. With an error, they are as
// the file has them: answering takes what can be taken.
func fileOptions(args []string) (options []string, err error) {
	if len(args) == 0 || args[0] != serveName || slices.Contains(args, "--help") || slices.Contains(args, "-h") {
		return nil, nil
	}
	path, err := settingsPath(args[1:])
	if err != nil || path == "" || cameBack() {
		return nil, asLineError(err)
	}
	text, err := readShort(path)
	if errors.Is(err, fs.ErrNotExist) {
		if isGiven(args[1:], "--check") && !trying() {
			return nil, asLineError(err)
		}
		return nil, nil
	}
	if err != nil {
		return nil, asLineError(err)
	}
	settings, err := readSettings(text)
	if level := settings[levelSetting]; level != "" && os.Getenv(levelSetting) == "" {
		_ = os.Setenv(levelSetting, level) // which cannot fail: it has no NUL
	}
	options = strings.Fields(settings[optionsSetting])
	if err == nil {
		options, err = wholeOptions(options)
	}
	if err != nil {
		err = asLineError(fmt.Errorf("%s: %w", path, err))
	}
	return options, err
}

func asLineError(err error) error {
	if err == nil {
		return nil
	}
	return &lineError{serveName, err}
}

// settingsPath is the file that args name, or "".
func settingsPath(args []string) (path string, err error) {
	given := false
	for i, arg := range args {
		name, value, whole := strings.Cut(arg, "=")
		switch {
		case name != settingsFlag:
			continue
		case given:
			return "", fmt.Errorf("%s is given twice", settingsFlag)
		case !whole && i+1 < len(args):
			value = args[i+1]
		}
		if value == "" {
			return "", fmt.Errorf("%s: want a file", settingsFlag)
		}
		path, given = value, true
	}
	return path, nil
}

// isGiven reports whether args have a switch, and do not turn it off.
func isGiven(args []string, flag string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		name, value, _ := strings.Cut(arg, "=")
		return name == flag && value != "false"
	})
}

// readShort reads a regular file. It does not wait for whoever writes to a pipe.
func readShort(path string) (string, error) {
	if _, err := os.Lstat(path); err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|nonblocking, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is a link to a file that is not there", path)
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSettings+1))
	if err == nil && len(text) > maxSettings {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxSettings)
	}
	return string(text), err
}

// wholeOptions has each option and its value in one word, so that none takes one of the command
// line for its value.
func wholeOptions(options []string) ([]string, error) {
	parser, err := newParserOf(new(serveGrammar), io.Discard, io.Discard)
	if err != nil {
		return options, err
	}
	for _, word := range options {
		if name, _, _ := strings.Cut(word, "="); slices.Contains(ownFlags, name) {
			return options, fmt.Errorf("%s belongs to the command line", name)
		}
	}
	line, err := readLine(parser.Model.Node, append([]string{serveName}, options...))
	if err == nil {
		err = checkValues(line.words)
	}
	if err == nil {
		_, err = parser.Parse(line.words)
	}
	if err != nil {
		return options, err
	}
	return line.words[1:], nil
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
	if strings.ContainsAny(line, "\r\x00") {
		return errors.New("want lines that end with a line feed")
	}
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
	if strings.ContainsAny(value, "\"'\\") {
		return fmt.Errorf(`%s: options are separated by spaces, and cannot have quotes or \`, name)
	}
	settings[name] = value
	return nil
}
