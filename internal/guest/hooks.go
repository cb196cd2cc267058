package guest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Hooks returns the programs in a directory, in the order of their names, and for each other file there
// why it is skipped. Only root, or the agent's user, may be able to change the directory
// and the programs; otherwise the directory is an error, and a program is skipped.
func Hooks(directory string) (programs, skipped []string, err error) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, nil, err
	}
	info, err := os.Lstat(directory)
	if err == nil {
		err = cannotBeChanged(info)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", directory, err)
	}
	for _, entry := range entries {
		path := filepath.Join(directory, entry.Name())
		if err := mayRun(path); err != nil {
			skipped = append(skipped, fmt.Sprintf("%s skipped: %v", entry.Name(), err))
			continue
		}
		programs = append(programs, path)
	}
	return programs, skipped, nil
}

// mayRun returns why a file is not run as a hook.
func mayRun(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("not a regular file")
	case info.Mode()&0o111 == 0:
		return errors.New("not executable")
	}
	return cannotBeChanged(info)
}

// cannotBeChanged returns an error unless root and the agent's user alone can change a file.
func cannotBeChanged(info fs.FileInfo) error {
	switch {
	case !ownedByAgent(info):
		return errors.New("it belongs to another user")
	case info.Mode()&0o022 != 0:
		return errors.New("others may write to it")
	}
	return nil
}
