package main

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// A commandLine is the program's arguments as kong is to read them: every flag has its
// value in the same word, and all other arguments follow. Left alone, kong takes a value
// that begins with "-" for a flag, and an unknown flag of "client" for the guest's command.
type commandLine struct {
	words []string

	// guest is the command that "client" is to run, or the arguments of "rsh". In words one
	// word stands for it.
	guest []string
}

// A lineError says what is wrong with a command line, and whose help to look at.
type lineError struct {
	command string // empty: the program's
	err     error
}

func (e *lineError) Error() string { return e.err.Error() }
func (e *lineError) Unwrap() error { return e.err }

// readLine reads the program's arguments. The error is a [*lineError].
func readLine(app *kong.Node, args []string) (commandLine, error) {
	args = synonyms(args)
	switch {
	case len(args) == 0:
		return commandLine{}, &lineError{err: fmt.Errorf("no command given: want %s", commandNames(app))}
	case strings.HasPrefix(args[0], "-"):
		return commandLine{words: args}, nil
	}
	node := commandNamed(app, args[0])
	if node == nil {
		return commandLine{}, &lineError{err: fmt.Errorf("unknown command %q: want %s", args[0], commandNames(app))}
	}
	if slices.ContainsFunc(node.Positional, func(v *kong.Value) bool { return v.Passthrough }) {
		return commandLine{words: args}, nil
	}
	a := arrangement{node: node}
	if err := a.arrange(args[1:]); err != nil {
		return commandLine{}, &lineError{node.Name, err}
	}
	line := commandLine{words: append([]string{node.Name}, a.flags...)}
	switch {
	case len(a.rest) == 0 && !a.partial && len(node.Positional) > 0 && node.Positional[0].Required:
		return commandLine{}, &lineError{node.Name, fmt.Errorf("no %s given", node.Positional[0].Name)}
	case len(a.rest) == 0:
	case runsInGuest(node):
		line.guest = a.rest
		line.words = append(line.words, "--", "command")
	default:
		line.words = append(append(line.words, "--"), a.rest...)
	}
	return line, nil
}

// checkValues returns an error if an option of "serve" has another one as its value, which was
// forgotten: the other one may be what denies something.
func checkValues(words []string) error {
	if words[0] != serveName {
		return nil
	}
	for _, word := range words[1:] {
		if name, value, _ := strings.Cut(word, "="); strings.HasPrefix(value, "--") {
			return &lineError{serveName, fmt.Errorf("%s: its value %q is an option", name, value)}
		}
	}
	return nil
}

// runsInGuest says whether what follows a command's flags is for the guest, flags or not.
func runsInGuest(node *kong.Node) bool { return node.Name == clientName || node.Name == rshName }

const (
	clientName = "client" // the command that runs one in the guest
	serveName  = "serve"  // the agent
	helpName   = "help"   // the flag
)

// synonyms returns the arguments that stand for what people try.
func synonyms(args []string) []string {
	switch {
	case len(args) == 0:
		return args
	case args[0] == helpName:
		return append(slices.Clone(args[1:min(len(args), 2)]), "--help")
	case args[0] == "--version" || args[0] == "-V":
		return append([]string{"version"}, args[1:]...)
	default:
		return args
	}
}

func commandNamed(app *kong.Node, name string) *kong.Node {
	for _, c := range app.Children {
		if c.Name == name || slices.Contains(c.Aliases, name) {
			return c
		}
	}
	return nil
}

func commandNames(app *kong.Node) string {
	var names []string
	for _, c := range app.Children {
		names = append(names, c.Name)
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// An arrangement is the arguments of one command, sorted.
type arrangement struct {
	node  *kong.Node
	flags []string // each with its value
	rest  []string // what is neither

	partial bool // there is --help, or an unknown flag: nothing else counts
}

// arrange sorts args. Flags end at "--", and, for commands that run one in the guest,
// at the first argument that is not a flag. An unknown flag is all that is left: kong
// refuses it.
func (a *arrangement) arrange(args []string) error {
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		switch {
		case word == "--":
			a.rest = append(a.rest, args...)
			return nil
		case len(word) < 2 || word[0] != '-':
			a.rest = append(a.rest, word)
			if runsInGuest(a.node) {
				a.rest = append(a.rest, args...)
				return nil
			}
		default:
			var err error
			if args, err = a.flag(word, args); err != nil {
				return err
			}
		}
	}
	return nil
}

// flag takes a word that begins with "-", and a value from args if it needs one there.
func (a *arrangement) flag(word string, args []string) (left []string, err error) {
	if name, long := strings.CutPrefix(word, "--"); long {
		name, _, valued := strings.Cut(name, "=")
		switch f := a.find(func(f *kong.Flag) bool { return f.Name == name }); {
		case f == nil:
			return a.unknown(word)
		case valued || f.IsBool():
			a.flags = append(a.flags, word)
			a.partial = a.partial || f.Name == helpName
			return args, nil
		default:
			return a.value(f, "", args)
		}
	}
	letters := word[1:]
	for i, letter := range letters {
		f := a.find(func(f *kong.Flag) bool { return f.Short == letter })
		switch {
		case f == nil:
			return a.unknown("-" + string(letter))
		case f.IsBool():
			a.flags = append(a.flags, "-"+string(letter))
			a.partial = a.partial || f.Name == helpName
		default:
			return a.value(f, letters[i+len(string(letter)):], args)
		}
	}
	return args, nil
}

// value takes a flag's value, which stands in the same word or is the next one.
func (a *arrangement) value(f *kong.Flag, same string, args []string) (left []string, err error) {
	value := strings.TrimPrefix(same, "=")
	if same == "" {
		if len(args) == 0 || args[0] == "--" {
			return nil, fmt.Errorf("--%s: missing value", f.Name)
		}
		value, args = args[0], args[1:]
	}
	a.flags = append(a.flags, "--"+f.Name+"="+value)
	return args, nil
}

func (a *arrangement) unknown(word string) (left []string, err error) {
	a.flags, a.rest, a.partial = []string{word}, nil, true
	return nil, nil
}

func (a *arrangement) find(is func(*kong.Flag) bool) *kong.Flag {
	for _, group := range a.node.AllFlags(false) {
		if i := slices.IndexFunc(group, is); i >= 0 {
			return group[i]
		}
	}
	return nil
}

// asGiven reads a string. kong goes through JSON, which changes bytes that are not
// UTF-8.
func asGiven(ctx *kong.DecodeContext, target reflect.Value) error {
	token, err := ctx.Scan.PopValue("string")
	if err != nil {
		return err
	}
	text, ok := token.Value.(string)
	if !ok {
		return errors.New("missing value")
	}
	target.SetString(text)
	return nil
}
