//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// hostRoot is where the guest has the whole of the host's root, read-only.
const hostRoot = "/run/host"

// A mount is one file system of the guest's. Its directory is made if it is missing.
type mount struct {
	fs, at  string
	mode    os.FileMode
	options string
}

// mounts stand in the order in which they are mounted.
var mounts = []mount{
	{"proc", "/proc", 0, ""},
	{"sysfs", "/sys", 0, ""},
	{"devtmpfs", "/dev", 0, "mode=755"},
	{"devpts", "/dev/pts", 0o755, "mode=620,ptmxmode=666,gid=5"},
	{"tmpfs", "/dev/shm", 0o1777, "mode=1777"},
	{"cgroup2", "/sys/fs/cgroup", 0, ""},
	{"tmpfs", "/run", 0, "mode=755"},
	{"tmpfs", "/tmp", 0, "mode=1777"},
}

// mountAll makes the guest's file system out of the host's.
func (p *plan) mountAll() error {
	for _, m := range mounts {
		if err := m.mount(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(hostRoot, 0o755); err != nil {
		return err
	}
	if err := mountHost("/", hostRoot, unix.MS_RDONLY); err != nil {
		return err
	}
	for _, dir := range p.Tmpfs {
		if err := (mount{"tmpfs", dir, 0, "mode=755"}).mount(); err != nil {
			return err
		}
	}
	if err := linkDevices(); err != nil {
		return err
	}
	for _, path := range p.Keep {
		if !hidden(path) {
			continue
		}
		if err := bind(path); err != nil {
			return err
		}
	}
	for _, dir := range append(p.Share, p.RunDir) {
		if err := share(dir); err != nil {
			return err
		}
	}
	return nil
}

func (m mount) mount() error {
	if m.mode != 0 {
		if err := os.MkdirAll(m.at, m.mode); err != nil {
			return err
		}
	}
	err := unix.Mount(m.fs, m.at, m.fs, 0, m.options)
	if err != nil && !errors.Is(err, unix.EBUSY) { // the kernel may have mounted devtmpfs
		return fmt.Errorf("mount %s on %s: %w", m.fs, m.at, err)
	}
	return nil
}

func mountHost(host, at string, flags uintptr) error {
	if err := unix.Mount("none", at, "hostfs", flags, host); err != nil {
		return fmt.Errorf("mount the host's %s on %s: %w", host, at, err)
	}
	return nil
}

// linkDevices makes the names in /dev that udev would make.
func linkDevices() error {
	_ = os.Remove("/dev/ptmx") // devtmpfs' own, which is not devpts'
	for name, target := range map[string]string{
		"ptmx":   "pts/ptmx",
		"fd":     "/proc/self/fd",
		"stdin":  "/proc/self/fd/0",
		"stdout": "/proc/self/fd/1",
		"stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, "/dev/"+name); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// hidden reports whether the guest's own /tmp or /run hides a path of the host's.
func hidden(path string) bool {
	return strings.HasPrefix(path, "/tmp/") || strings.HasPrefix(path, "/run/")
}

// bind shows a path of the host's at its own place again.
func bind(path string) error {
	from := hostRoot + path
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.MkdirAll(path, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
		err = os.WriteFile(path, nil, 0o644)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(from, path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", path, err)
	}
	return nil
}

// share lets the guest write to a directory of the host's.
func share(dir string) error {
	if hidden(dir) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return mountHost(dir, dir, 0)
}
