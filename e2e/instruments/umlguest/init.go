//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// drain is how long the console may take to write what it has: UML ends without
// waiting for it.
const drain = 50 * time.Millisecond

// runInit is process 1 of the guest. It does not return.
func runInit() {
	status, err := runPlan()
	if err != nil {
		fmt.Fprintln(os.Stdout, "umlguest init:", err)
	} else {
		fmt.Fprintln(os.Stdout, "umlguest init: command ended with status", status)
	}
	unix.Sync()
	<-time.After(drain)
	err = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	fmt.Fprintln(os.Stdout, "umlguest init: power off:", err) // and panic=1 ends the guest
}

func runPlan() (status int, err error) {
	p, err := readPlan()
	if err != nil {
		return 0, err
	}
	if err := p.mountAll(); err != nil {
		return 0, err
	}
	if err := unix.Sethostname([]byte(p.Hostname)); err != nil {
		return 0, fmt.Errorf("set hostname: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return 0, fmt.Errorf("bring lo up: %w", err)
	}
	if err := p.loadModules(); err != nil {
		return 0, err
	}
	status, err = p.runCommand()
	if err != nil {
		return 0, err
	}
	return status, os.WriteFile(filepath.Join(p.RunDir, statusName), []byte(strconv.Itoa(status)), 0o600)
}

func (p *plan) loadModules() error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	dir := filepath.Join(p.Modules, unix.ByteSliceToString(name.Release[:]), "kernel", "net", "vmw_vsock")
	modules := []string{"vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport"}
	if p.Loopback {
		modules = append(modules, "vsock_loopback")
	}
	for _, module := range modules {
		if err := loadModule(filepath.Join(dir, module+".ko")); err != nil {
			return fmt.Errorf("load module %s: %w", module, err)
		}
	}
	return nil
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// loopbackUp brings lo up, for servers on 127.0.0.1.
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
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo)
}

// runCommand runs the command, and reaps orphans until it ends.
func (p *plan) runCommand() (status int, err error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	env := append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "TERM=linux",
	}, p.Env...)
	command, err := os.StartProcess(p.Args[0], p.Args, &os.ProcAttr{
		Dir: p.Dir, Env: env, Files: []*os.File{null, os.Stdout, os.Stderr},
		Sys: &syscall.SysProcAttr{Setsid: true},
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
		case pid == command.Pid && ended.Exited():
			return ended.ExitStatus(), nil
		}
	}
}
