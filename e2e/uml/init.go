//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// modules are loaded in this order. vsock_loopback makes CID 1 the guest itself.
var modules = []string{
	"net/vmw_vsock/vsock", "net/vmw_vsock/vmw_vsock_virtio_transport_common", "net/vmw_vsock/vsock_loopback",
	"fs/fuse/fuse", "fs/overlayfs/overlay", "fs/minix/minix", "drivers/block/loop",
}

// initMain is process 1 of the guest. It ends by switching the guest off.
func initMain() {
	if err := runPlan(); err != nil {
		fmt.Fprintln(os.Stderr, "uml: init:", err)
	}
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Fprintln(os.Stderr, "uml: power off:", err) // and panic=1 ends the guest
	}
}

func runPlan() error {
	text, err := os.ReadFile(os.Getenv(planVariable))
	if err != nil {
		return err
	}
	var p plan
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	if err := errors.Join(mountAll(p.Shared), loadModules(), loopbackUp()); err != nil {
		return err
	}
	status, err := run(&p)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.Dir, statusName), []byte(strconv.Itoa(status)), 0o600)
}

func mountAll(shared []string) error {
	for _, m := range []struct{ fs, at, options string }{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"devtmpfs", "/dev", ""},
		{"devpts", "/dev/pts", "ptmxmode=666"},
		{"cgroup2", "/sys/fs/cgroup", ""},
		{"tmpfs", "/run", "mode=755"},
		{"tmpfs", "/tmp", "mode=1777"},
		{"tmpfs", "/dev/shm", "mode=1777"},
	} {
		if strings.HasPrefix(m.at, "/dev/") {
			if err := os.MkdirAll(m.at, 0o755); err != nil {
				return err
			}
		}
		if err := unix.Mount(m.fs, m.at, m.fs, 0, m.options); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	for _, dir := range shared {
		if !strings.HasPrefix(dir, "/tmp/") && !strings.HasPrefix(dir, "/run/") {
			continue // as it is, read-only
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("none", dir, "hostfs", 0, dir); err != nil {
			return fmt.Errorf("mount the host's %s: %w", dir, err)
		}
	}
	return os.Symlink("/proc/self/fd", "/dev/fd")
}

func loadModules() error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	release := unix.ByteSliceToString(name.Release[:])
	for _, module := range modules {
		f, err := os.Open("/usr/lib/uml/modules/" + release + "/kernel/" + module + ".ko")
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		_ = f.Close()
		if err != nil {
			return fmt.Errorf("load module %s: %w", module, err)
		}
	}
	return nil
}

// loopbackUp brings lo up, for tests that have a server on 127.0.0.1.
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo)
}

// run runs the command, and reaps whatever is orphaned until it ends.
func run(p *plan) (status int, err error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	command, err := os.StartProcess(p.Argv[0], p.Argv, &os.ProcAttr{
		Dir: p.Cwd, Env: p.Env,
		Files: []*os.File{null, os.Stdout, os.Stdout},
	})
	if err != nil {
		return 0, err
	}
	for {
		var ended syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ended, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, err
		case pid == command.Pid && ended.Signaled():
			return 128 + int(ended.Signal()), nil
		case pid == command.Pid:
			return ended.ExitStatus(), nil
		}
	}
}
