package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// lookCommand finds the file of a command as execvp(3) does, but in the PATH
// of the process's own environment and from its own directory.
func lookCommand(name string, env []string, dir string) (string, error) {
	if strings.Contains(name, "/") {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		return path, executable(path)
	}
	search, ok := lookupEnv(env, "PATH")
	if !ok {
		search = defaultPath
	}
	notFound := fmt.Errorf("%.256q: %w in PATH=%.1024s", name, ErrNotFound, search)
	for _, folder := range filepath.SplitList(search) {
		path := filepath.Join(dir, folder, name)
		if filepath.IsAbs(folder) {
			path = filepath.Join(folder, name)
		}
		err := executable(path)
		if err == nil {
			return path, nil
		}
		if errors.Is(err, ErrNotExecutable) && !errors.Is(err, os.ErrPermission) {
			notFound = err // it is there: worth saying, unless a later folder has it
		}
	}
	return "", notFound
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: %w", ErrNotExecutable, err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case info.IsDir():
		return fmt.Errorf("%s: %w: it is a directory", path, ErrNotExecutable)
	case info.Mode()&0o111 == 0:
		return fmt.Errorf("%s: %w: its mode is %v", path, ErrNotExecutable, info.Mode())
	default:
		return nil
	}
}

// directory is where a process starts.
func directory(dir string, user account) (string, error) {
	if dir == "" {
		if isDir(user.home) {
			return user.home, nil
		}
		return "/", nil
	}
	if !filepath.IsAbs(dir) {
		return "", invalidError{fmt.Errorf("directory %.256q is not absolute", dir)}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", invalidError{fmt.Errorf("directory: %w", err)}
	}
	if !info.IsDir() {
		return "", invalidError{fmt.Errorf("%s is not a directory", dir)}
	}
	return dir, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
