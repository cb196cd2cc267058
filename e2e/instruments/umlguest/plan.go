//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A plan is what the guest's init does. Init reads it from a file, whose path is in
// the environment variable planVariable.
type plan struct {
	RunDir   string // the plan's own directory, which the guest can write to
	Args     []string
	Env      []string
	Dir      string
	Keep     []string // host paths under /tmp and /run that stay visible
	Share    []string // host directories that the guest can write to
	Tmpfs    []string
	Loopback bool
	Hostname string
	Modules  string
}

const (
	planVariable = "UMLGUEST_PLAN"
	planName     = "plan"
	statusName   = "status"
)

func (o options) plan(runDir string) (p plan, err error) {
	p = plan{
		RunDir: runDir, Args: o.command, Env: o.env, Dir: o.dir, Tmpfs: o.tmpfs,
		Loopback: o.loopback, Hostname: o.hostname, Modules: o.modules,
	}
	binary, err := exec.LookPath(p.Args[0])
	if err != nil {
		return p, err
	}
	if p.Args[0], err = filepath.Abs(binary); err != nil {
		return p, err
	}
	if p.Keep, err = existing(o.keep); err != nil {
		return p, err
	}
	p.Keep = append(p.Keep, filepath.Dir(p.Args[0]))
	p.Share, err = existing(o.share)
	return p, err
}

// existing returns the absolute forms of paths that exist.
func existing(paths []string) (found []string, err error) {
	for _, path := range paths {
		path, err = filepath.Abs(path)
		if err == nil {
			_, err = os.Stat(path)
		}
		if err != nil {
			return nil, err
		}
		found = append(found, path)
	}
	return found, nil
}

// write writes the plan into its directory.
func (p *plan) write() error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.RunDir, planName), text, 0o600)
}

// readPlan returns the plan of the guest's init.
func readPlan() (p plan, err error) {
	text, err := os.ReadFile(os.Getenv(planVariable))
	if err != nil {
		return p, err
	}
	err = json.Unmarshal(text, &p)
	return p, err
}

// kernelArgs returns the kernel's command line.
func (o options) kernelArgs(runDir string) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	device, err := filepath.Abs(o.vsock)
	if err != nil {
		return nil, err
	}
	disk, err := filepath.Abs(o.disk)
	if err != nil {
		return nil, err
	}
	for _, path := range []string{self, device, disk, runDir} {
		if strings.ContainsAny(path, " \t\n\",") {
			return nil, fmt.Errorf("%q cannot go on a kernel command line", path)
		}
	}
	args := []string{
		"mem=" + o.mem, "con=null", "con0=null,fd:1", "uml_dir=" + runDir + "/", "umid=guest", "panic=1",
	}
	if o.disk != "" {
		args = append(args, "ubd0="+filepath.Join(runDir, "written")+","+disk, "root=/dev/ubda", "rw")
	} else {
		args = append(args, "rootfstype=hostfs", "rootflags=/", "ro", "init="+self,
			planVariable+"="+filepath.Join(runDir, planName))
	}
	if o.vsock != "" {
		args = append(args, "virtio_uml.device="+device+":19") // 19: a vsock device
	}
	return append(args, o.karg...), nil
}
