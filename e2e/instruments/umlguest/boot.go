//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// graceful is how long a guest may take to power off after SIGTERM.
const graceful = 2 * time.Second

// run runs the command in a guest, and returns its exit status. With a disk
// there is no command: it runs the guest until that powers off.
func (o options) run() (status int, err error) {
	dir, err := os.MkdirTemp("", "umlguest-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if o.disk != "" {
		return 0, o.runKernel(dir)
	}
	p, err := o.plan(dir)
	if err != nil {
		return 0, err
	}
	if err := p.write(); err != nil {
		return 0, err
	}
	if err := o.runKernel(dir); err != nil {
		return 0, err
	}
	text, err := os.ReadFile(filepath.Join(dir, statusName))
	if err != nil {
		return 0, errors.New("the guest ended before its command did; see the console")
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// runKernel runs the guest until it ends, a signal comes, or its time is up. No
// process of the guest's is left.
func (o options) runKernel(dir string) error {
	args, err := o.kernelArgs(dir)
	if err != nil {
		return err
	}
	console := os.Stdout
	if o.console != "" {
		if console, err = os.OpenFile(o.console, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
			return err
		}
		defer console.Close()
	}
	cmd := exec.Command(o.kernel, args...)
	cmd.Stdout, cmd.Stderr = console, console
	// The guest's memory is a file, which would follow TMPDIR to a disk.
	cmd.Env = append(os.Environ(), "TMPDIR=/dev/shm")
	// UML's helper processes and the guest's stay in its session, and end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	if err := cmd.Start(); err != nil {
		return err
	}
	pid := cmd.Process.Pid
	done := make(chan struct{})
	go awaitEnd(pid, done) // ends with the kernel
	defer end(cmd, done)
	if o.pidFile != "" {
		if err := os.WriteFile(o.pidFile, []byte(strconv.Itoa(pid)+"\n"), 0o644); err != nil {
			return err
		}
	}
	return o.await(pid, done, signals)
}

// await returns when the kernel has ended, and ends it itself if a signal comes or
// its time is up, which is an error.
func (o options) await(pid int, done <-chan struct{}, signals <-chan os.Signal) (err error) {
	var late <-chan time.Time
	if o.timeout > 0 {
		late = time.After(o.timeout)
	}
	select {
	case <-done:
		return nil
	case sig := <-signals:
		err = fmt.Errorf("ended by %v", sig)
	case <-late:
		err = fmt.Errorf("guest still ran after %v", o.timeout)
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	select {
	case <-done:
	case <-time.After(graceful):
	}
	return err
}

// awaitEnd closes done when the kernel has ended, and leaves it a zombie.
func awaitEnd(pid int, done chan<- struct{}) {
	defer close(done)
	for {
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// end kills whatever is left of a guest's processes. Until the kernel has been
// reaped, its pid is the number of their group and of nobody else's.
func end(cmd *exec.Cmd, done <-chan struct{}) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	<-done
	_ = cmd.Wait() // the kernel's exit status says nothing of the command
}
