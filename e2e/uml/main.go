//go:build linux

// Command uml runs a command in a User-Mode-Linux guest: a kernel of its own,
// in which AF_VSOCK is nobody else's. It is made for go test -exec:
//
//	uml BINARY ARG…
//
// The guest sees the host's root read-only, an empty /tmp and /run, and, at
// their own places, the directories of the binary, of the module that the working
// directory is in, and of COCOON_AGENT. It has the caller's environment and working
// directory; its standard output and error are the caller's standard output. The exit
// status is the command's, or 125 if the guest ended without one.
//
// The same program is the guest's init.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	kernel = "/usr/bin/linux.uml"

	// longest is how long a guest may run: one that hangs is a failure.
	longest = 10 * time.Minute

	// statusNoCommand says that the guest ended before its command did.
	statusNoCommand = 125
)

// errPoweredOff: the kernel's process ended with status 0.
var errPoweredOff = errors.New("powered off")

// A plan is what the guest's init is to do. It is handed over as a file.
type plan struct {
	Dir    string // the plan's own, which the guest may write to
	Argv   []string
	Env    []string
	Cwd    string
	Shared []string // directories of the host that the guest would not see otherwise
}

const (
	planVariable = "UML_PLAN"
	planName     = "plan"
	statusName   = "status"
)

func main() {
	if os.Getpid() == 1 {
		initMain()
		return
	}
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: uml BINARY ARG…")
		os.Exit(2)
	}
	status, err := boot(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "uml:", err)
	}
	os.Exit(status)
}

// boot runs argv in a guest, and returns its exit status.
func boot(argv []string) (int, error) {
	dir, err := os.MkdirTemp("", "uml")
	if err != nil {
		return statusNoCommand, err
	}
	defer os.RemoveAll(dir)
	if err := writePlan(dir, argv); err != nil {
		return statusNoCommand, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	said, ended := runKernel(ctx, dir)
	if ctx.Err() != nil {
		return statusNoCommand, fmt.Errorf("the guest was ended: %w (%w)", ctx.Err(), ended)
	}
	// The kernel's messages about its end do not have the command's status.
	text, err := os.ReadFile(filepath.Join(dir, statusName))
	if err != nil {
		return statusNoCommand, fmt.Errorf("the guest ended (%w) before its command did; its kernel said:\n%s", cmp.Or(ended, errPoweredOff), said)
	}
	return strconv.Atoi(string(text))
}

func writePlan(dir string, argv []string) error {
	binary, err := filepath.Abs(argv[0])
	if err != nil {
		return err
	}
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	p := plan{
		Dir:    dir,
		Argv:   append([]string{binary}, argv[1:]...),
		Env:    slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "TMPDIR=") }),
		Cwd:    cwd,
		Shared: []string{dir, filepath.Dir(binary), module(cwd)},
	}
	if agent := os.Getenv("COCOON_AGENT"); agent != "" {
		p.Shared = append(p.Shared, filepath.Dir(agent))
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, planName), text, 0o600)
}

// module returns the directory of the Go module that dir is in, or dir itself.
func module(dir string) string {
	for up := dir; up != "/"; up = filepath.Dir(up) {
		if _, err := os.Stat(filepath.Join(up, "go.mod")); err == nil {
			return up
		}
	}
	return dir
}

// runKernel runs the guest to its end, or to ctx's, and returns what the kernel
// has said besides the guest's console.
func runKernel(ctx context.Context, dir string) (said []byte, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, kernel,
		"mem=1G", "rootfstype=hostfs", "rootflags=/", "ro", "init="+self, "panic=1",
		"loglevel=0", "selinux=0", "con=null", "con0=null,fd:3", "uml_dir="+dir+"/", "umid=guest",
		planVariable+"="+filepath.Join(dir, planName))
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.ExtraFiles = []*os.File{os.Stdout}            // 3
	cmd.Env = append(os.Environ(), "TMPDIR=/dev/shm") // where the guest's memory is
	// The kernel's helper processes stay in its process group, and end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	err = cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	return output.Bytes(), err
}
