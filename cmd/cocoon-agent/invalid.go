//go:build linux || windows

package main

import (
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// answerFlag has "serve" listen even if other options are invalid.
const answerFlag = "--answer-if-invalid"

// initFlag has "serve" be the init of a guest, and implies that.
const initFlag = "--init"

// basicFlags are those of "serve" that count even then: how to listen and to log. Those that
// allow or deny something are not among them.
var basicFlags = []string{
	answerFlag, initFlag, "--port", "--listen", "--ready-fd", "--shutdown-grace", "--log-level", "--log-format", "--service", "--log-file",
}

// answering is the agent that tells hosts what is wrong with the options in args and in the settings
// file, if args ask for one; nil: they do not.
func answering(args, settings []string, err error) *serveCommand {
	asked := isGiven(args, answerFlag) || isGiven(args, initFlag)
	if !isInvalid(err) || !asked || args[0] != serveName || isGiven(args, "--check") {
		return nil
	}
	words := args[:1:1]
	s, _ := parseServe(words) // no error: there are no options
	options := slices.Concat(args[1:], settings)
	taken := make(map[string]bool)
	for i, word := range options {
		name, _, _ := strings.Cut(word, "=")
		if !slices.Contains(basicFlags, name) || taken[name] && name != "--listen" {
			continue
		}
		for _, more := range [][]string{{word}, options[i:min(i+2, len(options))]} {
			better, err := parseServe(append(slices.Clip(words), more...))
			if err == nil {
				words, s, taken[name] = append(words, more...), better, true
				break
			}
		}
	}
	s.invalid = err
	return s
}

// parseServe is the command "serve" with these arguments. Its own name is the first one.
func parseServe(args []string) (*serveCommand, error) {
	var g serveGrammar
	parser, err := newParserOf(&g, io.Discard, io.Discard)
	if err != nil {
		return nil, err
	}
	line, err := readLine(parser.Model.Node, args)
	if err != nil {
		return nil, err
	}
	if slices.Contains(line.words, "--help") { // which ends the program
		return nil, errors.New("--help does not start an agent")
	}
	if err := checkValues(line.words); err != nil {
		return nil, err
	}
	if _, err := parser.Parse(line.words); err != nil {
		return nil, err
	}
	if _, err := g.Serve.checked(); err != nil {
		return nil, err
	}
	return &g.Serve, nil
}

// asUsage is err as a usageError, or nil.
func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err}
}

// isInvalid reports whether err is about the options of a command.
func isInvalid(err error) bool {
	if _, ok := errors.AsType[*usageError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*lineError](err); ok {
		return true
	}
	_, ok := errors.AsType[*kong.ParseError](err)
	return ok
}
