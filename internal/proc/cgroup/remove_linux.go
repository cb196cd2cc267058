package cgroup

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxRemoved bounds how many cgroups of one tree are removed at a time: a command
// can make millions. The rest is removed when the tree is looked at again.
const maxRemoved = 10_000

// removeTree removes a cgroup and those that a command has made below it, those
// first. One that is gone is removed. It fails at once if a process lives in
// any of them.
func removeTree(path string) error {
	err := unix.Rmdir(path)
	if !errors.Is(err, unix.EBUSY) {
		return gone(err)
	}
	if populated(path) {
		return err
	}
	budget := maxRemoved
	return removeBelow(path, &budget)
}

func removeBelow(path string, budget *int) error {
	below, err := subdirectories(path)
	if err != nil {
		return gone(err)
	}
	for _, name := range below {
		if err := removeBelow(filepath.Join(path, name), budget); err != nil {
			return err
		}
	}
	if *budget == 0 {
		return unix.EBUSY
	}
	*budget--
	return gone(unix.Rmdir(path))
}

// gone returns err, unless it says that there is nothing to remove.
func gone(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// populated says whether a process lives in a cgroup or below it.
func populated(path string) bool {
	text, err := os.ReadFile(filepath.Join(path, "cgroup.events"))
	return err == nil && !bytes.Contains(text, []byte("populated 0"))
}

// subdirectories returns the names of the cgroups right below one.
func subdirectories(path string) ([]string, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}
