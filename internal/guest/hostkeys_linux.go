package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// keysTime is how long new keys may take to make. On a small VM an RSA key can
// be some seconds.
const keysTime = time.Minute

// newHostKeys replaces sshd's keys if they are in their default place, and makes a
// running sshd read them. The old ones stay until there are new ones.
func newHostKeys(root string) (changed bool, note string, err error) {
	if installed(root, "sshd") == "" {
		return false, "sshd is not installed", nil
	}
	generator := installed(root, "ssh-keygen")
	if generator == "" {
		return false, "", errors.New("ssh-keygen is not installed")
	}
	dir := root + "/etc/ssh"
	made := dir + "/.cocoon-agent"
	_ = os.RemoveAll(made) // of an agent that was killed meanwhile
	if err := os.Mkdir(made, 0o700); err != nil {
		return false, "", err
	}
	defer os.RemoveAll(made)
	if err := generate(generator, made); err != nil {
		return false, "", err
	}
	if err := exchange(dir, made+"/etc/ssh"); err != nil {
		return true, "", err
	}
	return true, "", reload(root + "/run/sshd.pid")
}

// installed returns the path of a program, or "".
func installed(root, program string) string {
	for _, dir := range []string{"/usr/sbin/", "/usr/bin/", "/usr/local/sbin/", "/usr/local/bin/"} {
		path := root + dir + program
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}

// generate makes keys of each type below prefix: etc/ssh/ssh_host_*_key and .pub.
func generate(generator, prefix string) error {
	if err := os.MkdirAll(prefix+"/etc/ssh", 0o700); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), keysTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, generator, "-A", "-f", prefix)
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("ssh-keygen -A: not done within %v", keysTime)
		}
		out = bytes.TrimSpace(out)
		return fmt.Errorf("ssh-keygen -A: %w: %s", err, out[bytes.LastIndexByte(out, '\n')+1:])
	}
	return nil
}

// exchange moves the keys in made to dir, and removes those that were there,
// with their certificates.
func exchange(dir, made string) error {
	const keys = "ssh_host_*_key*"
	old, _ := filepath.Glob(filepath.Join(dir, keys)) // the pattern is a good one
	fresh, _ := filepath.Glob(filepath.Join(made, keys))
	if len(fresh) == 0 {
		return errors.New("ssh-keygen did not generate any keys")
	}
	replaced := make(map[string]bool)
	for _, key := range fresh {
		to := filepath.Join(dir, filepath.Base(key))
		if err := os.Rename(key, to); err != nil {
			return err
		}
		replaced[to] = true
	}
	var failed []error
	for _, key := range old {
		if !replaced[key] {
			failed = append(failed, os.Remove(key))
		}
	}
	return errors.Join(failed...)
}

// reload makes the sshd that pidFile names begin again, as sshd(8) does on SIGHUP: it
// read its keys when it began. Its connections live on. If there is no sshd, or one for
// each connection, there is nothing to do.
func reload(pidFile string) error {
	text, err := os.ReadFile(pidFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	pid, parseErr := strconv.Atoi(strings.TrimSpace(string(text)))
	if err := errors.Join(err, parseErr); err != nil {
		return err
	}
	p, err := os.FindProcess(pid) // holds on to this process: its number may be another's soon
	if err != nil {
		return err
	}
	defer func() { _ = p.Release() }()
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if string(name) != "sshd\n" {
		return nil // a file that was left behind
	}
	if err := p.Signal(syscall.SIGHUP); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("reload sshd: %w", err)
	}
	return nil
}
