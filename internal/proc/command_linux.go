package proc

import (
	"fmt"
	"path/filepath"
	"strings"
)

const (
	// maxDirectories bounds the search of PATH.
	maxDirectories = 1024

	// No kernel takes more, limits.h(0P), in bytes.
	maxName, maxPath = 255, 4096
)

// candidates are the files that may be a command's, in the order in which execvp(3)
// tries them, but in the PATH of the process's own environment. The process tries them
// itself, with its user's rights. They are relative to its directory, if that is not
// given: it may be the home, or /. A directory that PATH names twice is searched once.
func candidates(name string, env []string, dir string) ([]string, error) {
	if strings.Contains(name, "/") {
		return []string{within(dir, name)}, nil
	}
	var paths []string
	seen := make(map[string]bool)
	for directory := range strings.SplitSeq(searchPath(env), ":") {
		if directory == "" {
			directory = "."
		}
		if seen[directory] {
			continue
		}
		if len(paths) == maxDirectories {
			return nil, invalidError{fmt.Errorf("PATH: more than %d directories", maxDirectories)}
		}
		seen[directory] = true
		paths = append(paths, within(dir, directory+"/"+name))
		if len(name) > maxName || len(dir) > maxPath {
			break // the first is an error that ends the search
		}
	}
	return paths, nil
}

func searchPath(env []string) string {
	if path, ok := lookupEnv(env, "PATH"); ok {
		return path
	}
	return defaultPath()
}

func within(dir, path string) string {
	if dir == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
