package proc

import (
	"path/filepath"
	"strings"
)

// candidates are the files that may be a command's, in the order in which execvp(3)
// tries them, but in the PATH of the process's own environment. The process tries them
// itself, with its user's rights. They are relative to its directory, if that is not
// given: it may be the home, or /.
func candidates(name string, env []string, dir string) []string {
	if strings.Contains(name, "/") {
		return []string{within(dir, name)}
	}
	var paths []string
	for _, folder := range strings.Split(searchPath(env), ":") {
		if folder == "" {
			folder = "."
		}
		paths = append(paths, within(dir, folder+"/"+name))
	}
	return paths
}

func searchPath(env []string) string {
	if path, ok := lookupEnv(env, "PATH"); ok {
		return path
	}
	return defaultPath
}

func within(dir, path string) string {
	if dir == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
