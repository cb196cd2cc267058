package proc

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/cocoonstack/cocoon-agent/internal/ttymode"
)

// A Spec says what to run.
type Spec struct {
	// Argv is the command and its arguments. A command without a slash is
	// looked up in the PATH of the process's own environment, on Windows with PATHEXT.
	Argv []string

	// Verbatim says that the arguments stand in a command line of Windows's as they are,
	// with spaces between them. Elsewhere Start fails with [ErrUnsupported].
	Verbatim bool

	// Env lists KEY=VALUE on top of the base environment, or, with ClearEnv,
	// is the whole of it. The last of equal keys counts.
	Env      []string
	ClearEnv bool

	Dir  string // absolute; empty: the user's home, or the root directory if there is none
	User string // "name", "uid", "name:group" or "uid:gid"; empty: the agent's own, and no other on Windows; see Identity

	// Which of the standard streams are wanted as pipes. The others are /dev/null, or NUL.
	Stdin, Stdout, Stderr bool

	// Merge makes stderr the same pipe as stdout. Stderr is then of no account.
	Merge bool

	// Terminal gives the process a controlling terminal of its own as all three
	// of its standard streams, whatever the fields above say: there are Stdin and
	// Stdout then, and no Stderr. nil: no terminal.
	Terminal *Terminal

	Limits Limits // Start fails with [ErrUnsupported] if one cannot be set
}

// A Terminal is what a terminal begins as. Zero rows or columns stand for 24
// and 80, an empty Term for xterm.
type Terminal struct {
	Size
	Term  string
	Modes ttymode.Modes // others are the system's own; characters are UTF-8 unless they say otherwise
}

// A Size is that of a terminal.
type Size struct {
	Rows, Cols        uint16
	WidthPX, HeightPX uint16 // of the whole window, in pixels; 0: not known
}

// defaultTerm is TERM if the Spec gives none: what nearly every terminal
// understands.
const defaultTerm = "xterm"

// term is the value of TERM.
func (t *Terminal) term() string {
	if t.Term == "" {
		return defaultTerm
	}
	return t.Term
}

func checkStrings(spec Spec) error {
	if len(spec.Argv) == 0 {
		return invalidError{errors.New("no command")}
	}
	if spec.Argv[0] == "" {
		return fmt.Errorf(`"": %w`, ErrNotFound) // execvp(3)
	}
	for _, s := range spec.Argv {
		if err := checkNUL("argument", s); err != nil {
			return err
		}
	}
	for _, s := range spec.Env {
		if err := checkNUL("environment entry", s); err != nil {
			return err
		}
		if !strings.Contains(s, "=") || s[0] == '=' {
			return invalidError{fmt.Errorf("environment entry %.64q: want KEY=VALUE", s)}
		}
	}
	if spec.Terminal != nil {
		if err := checkNUL("type of terminal", spec.Terminal.Term); err != nil {
			return err
		}
	}
	if spec.Dir != "" && !filepath.IsAbs(spec.Dir) {
		return invalidError{fmt.Errorf("directory %.256q is not absolute", spec.Dir)}
	}
	return checkNUL("directory", spec.Dir)
}

// checkNUL refuses what the kernel would cut off.
func checkNUL(what, s string) error {
	if strings.ContainsRune(s, 0) {
		return invalidError{fmt.Errorf("%s %.64q has a NUL byte", what, s)}
	}
	return nil
}
