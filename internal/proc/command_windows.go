package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"

	"golang.org/x/sys/windows"
)

// defaultExtensions are those of programs if there is no PATHEXT.
const defaultExtensions = ".COM;.EXE;.BAT;.CMD"

// candidates is the file that is a command's: it is looked up in the PATH of the process's own
// environment, and by its extensions. A command with a separator is looked up in dir only.
func candidates(name string, env []string, dir string) ([]string, error) {
	extensions := extensionsOf(env)
	if strings.ContainsAny(name, `\/:`) {
		path := filepath.FromSlash(name)
		if filepath.VolumeName(path) != "" && !filepath.IsAbs(path) {
			return nil, invalidError{fmt.Errorf("command %.256q: it is relative to the current directory of a drive", name)}
		}
		path = within(dir, path)
		if file := program(path, extensions); file != "" {
			return []string{file}, nil
		}
		if info, err := os.Stat(path); err == nil {
			if info.IsDir() {
				return nil, fmt.Errorf("%s: %w: it is a directory", clipPath(path), ErrNotExecutable)
			}
			return []string{path}, nil // CreateProcess says what it is
		}
		return nil, fmt.Errorf("%s: %w", clipPath(path), ErrNotFound)
	}
	path, _ := lookupEnv(env, "PATH")
	for _, directory := range filepath.SplitList(path) {
		if directory == "" {
			continue
		}
		if file := program(within(dir, directory)+`\`+name, extensions); file != "" {
			return []string{file}, nil
		}
	}
	return nil, fmt.Errorf("%.256q: %w in PATH=%.1024s, with PATHEXT=%.256s", name, ErrNotFound, path, strings.Join(extensions, ";"))
}

// extensionsOf are those of programs, in the order in which they are tried.
func extensionsOf(env []string) []string {
	list, _ := lookupEnv(env, "PATHEXT")
	if list == "" {
		list = defaultExtensions
	}
	var extensions []string
	for e := range strings.SplitSeq(list, ";") {
		if e = strings.TrimSpace(e); e != "" && e != "." {
			extensions = append(extensions, "."+strings.TrimPrefix(e, "."))
		}
	}
	return extensions
}

// program returns the file that path names with one of the extensions, or as it is if it has
// one; empty: there is none.
func program(path string, extensions []string) string {
	if filepath.Ext(path) != "" && isFile(path) {
		return path
	}
	for _, e := range extensions {
		if isFile(path + e) {
			return path + e
		}
	}
	return ""
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// within is path as a process sees it that begins in dir, which is absolute.
func within(dir, path string) string {
	switch {
	case filepath.IsAbs(path):
		return path
	case strings.HasPrefix(path, `\`): // on the same drive
		return filepath.VolumeName(dir) + path
	default:
		return filepath.Join(dir, path)
	}
}

// startDir is the directory of a process whose Spec may give none: its user's home, if that is there.
func startDir(dir, home string) string {
	if dir != "" {
		return dir
	}
	if info, err := os.Stat(home); err == nil && info.IsDir() {
		return home
	}
	root, _ := windows.GetWindowsDirectory()
	return filepath.VolumeName(root) + `\`
}

// batchSpecial is what cmd.exe takes from the arguments of a batch file for itself, however they
// are quoted.
const batchSpecial = "\"%!^&|<>()\r\n"

// maxCommandLine is how long a command line may be, in UTF-16 units, without its NUL.
const maxCommandLine = 32766

// commandLine is what a process gets as its command line: as programs split it that do as the C
// runtime and CommandLineToArgvW do, or verbatim.
func commandLine(path string, spec Spec) (string, error) {
	command, args := windows.EscapeArg(spec.Argv[0]), spec.Argv[1:]
	if isBatch(path) {
		// Windows hands the command line to cmd.exe, which would look argv[0] up itself, first in
		// the current directory.
		if strings.ContainsAny(path, "\"%!^\r\n") {
			return "", invalidError{fmt.Errorf("batch file %s: cmd.exe would not take its path as it is", clipPath(path))}
		}
		command = `"` + path + `"`
	}
	line := command
	if spec.Verbatim {
		line = strings.Join(append([]string{command}, args...), " ")
	} else {
		for _, a := range args {
			line += " " + quoted(a, isBatch(path))
		}
	}
	if n := len(utf16.Encode([]rune(line))); n > maxCommandLine {
		return "", invalidError{fmt.Errorf("%s: a command line of %d characters: want at most %d", clipPath(path), n, maxCommandLine)}
	}
	if isBatch(path) && !spec.Verbatim {
		for _, a := range args {
			if strings.ContainsAny(a, batchSpecial) {
				return "", invalidError{fmt.Errorf("argument %.64q of a batch file: cmd.exe would not take it as one argument: it has one of %.64q", a, batchSpecial)}
			}
		}
	}
	return line, nil
}

// quoted is an argument in a command line. cmd.exe splits those of a batch file at more characters,
// and takes a backslash before a quote for itself.
func quoted(arg string, batch bool) string {
	if !batch {
		return windows.EscapeArg(arg)
	}
	if arg == "" || strings.ContainsAny(arg, " \t=,;") {
		return `"` + arg + `"`
	}
	return arg
}

// isBatch: Windows takes no notice of dots and spaces at the end of a name.
func isBatch(path string) bool {
	ext := strings.ToLower(filepath.Ext(strings.TrimRight(path, ". ")))
	return ext == ".bat" || ext == ".cmd"
}

// clipPath is how much of a path a message has.
func clipPath(path string) string {
	const most = 1024
	if len(path) > most {
		return path[:most] + "…"
	}
	return path
}
