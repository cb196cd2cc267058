package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// stdinName is the name of a file that is standard input.
const stdinName = "-"

// maxEnvFile is how long a file of variables may be: more than an exec carries.
const maxEnvFile = 8 << 20

// environ returns the variables of --env-file and, after them, of --env.
func (c *clientCommand) environ() ([]string, error) {
	var env []string
	for _, name := range c.EnvFile {
		text, err := readEnvFile(name)
		if err != nil {
			return nil, misuse("--env-file: %w", err)
		}
		for i, line := range strings.Split(text, "\n") {
			line = strings.TrimSuffix(line, "\r")
			if entry := strings.TrimLeft(line, " \t"); entry == "" || entry[0] == '#' {
				continue
			}
			if env, err = appendVariable(env, line); err != nil {
				return nil, misuse("--env-file %s, line %d: %w", name, i+1, err)
			}
		}
	}
	for _, entry := range c.Env {
		var err error
		if env, err = appendVariable(env, entry); err != nil {
			return nil, misuse("--env: %w", err)
		}
	}
	return env, nil
}

// appendVariable appends KEY=VALUE. KEY alone has the value that it has here, and is left out
// if it has none.
func appendVariable(env []string, entry string) ([]string, error) {
	key, _, valued := strings.Cut(entry, "=")
	switch {
	case key == "" || strings.ContainsAny(key, " \t"):
		// Without the value, which may be secret.
		return nil, fmt.Errorf("%q: want KEY=VALUE, or KEY for the value that it has here", key)
	case valued:
		return append(env, entry), nil
	}
	if value, set := os.LookupEnv(key); set {
		return append(env, key+"="+value), nil
	}
	return env, nil
}

func readEnvFile(name string) (string, error) {
	file := os.Stdin
	if name != stdinName {
		var err error
		if file, err = os.Open(name); err != nil {
			return "", err
		}
		defer file.Close()
	}
	text, err := io.ReadAll(io.LimitReader(file, maxEnvFile+1))
	if err == nil && len(text) > maxEnvFile {
		err = fmt.Errorf("%s: longer than %d bytes", name, maxEnvFile)
	}
	return string(text), err
}
