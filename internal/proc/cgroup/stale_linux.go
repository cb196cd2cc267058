package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func stale() (pids []int) {
	h, err := findHome()
	if err != nil {
		return nil
	}
	paths, _ := filepath.Glob(filepath.Join(h.dir, folderPrefix+"*"))
	for _, path := range paths {
		lock, err := lockFolder(strings.TrimSuffix(path, limitsSuffix))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			continue // a program's that lives
		}
		_ = filepath.WalkDir(path, func(dir string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				g := group{path: dir}
				pids = append(pids, g.members()...)
			}
			return nil
		})
		if lock != nil {
			_ = lock.Close()
		}
	}
	return pids
}
