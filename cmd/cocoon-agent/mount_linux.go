package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// A mountPoint is what programs expect of a Linux system.
type mountPoint struct {
	kind, path string
	flags      uintptr
	options    string
}

var mountPoints = []mountPoint{
	{"proc", "/proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	{"sysfs", "/sys", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	{"devtmpfs", "/dev", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0755"},
	{"devpts", "/dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666"},
	{"tmpfs", "/dev/shm", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	{"tmpfs", "/run", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
	{"cgroup2", "/sys/fs/cgroup", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
}

// deviceLinks are those that udev makes elsewhere.
var deviceLinks = map[string]string{
	"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
}

// initialPIDs is the inode of the PID namespace that the kernel begins with: PROC_PID_INIT_INO.
const initialPIDs = 0xEFFFFFFC

// isFirstNamespace reports whether this process is outside of all containers. It mounts /proc
// if need be.
func isFirstNamespace() bool {
	_ = mountPoints[0].mount() // prepare tells
	info, err := os.Stat("/proc/self/ns/pid")
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Ino == initialPIDs
}

// prepare makes what is missing of a system, as far as that can be done.
func (x *initSystem) prepare() {
	unix.Umask(0o022)
	if os.Getenv("PATH") == "" {
		_ = os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	if !x.guest { // a container has what it is given
		return
	}
	for _, m := range mountPoints {
		if err := m.mount(); err != nil {
			x.log.Warn().Err(err).Msg("init: file system missing")
		}
	}
	for link, to := range deviceLinks {
		if err := os.Symlink(to, link); err != nil && !errors.Is(err, os.ErrExist) {
			x.log.Warn().Err(err).Msg("init: link missing")
		}
	}
	if err := setLoopbackUp(); err != nil {
		x.log.Warn().Err(err).Msg("init: the loopback interface is down: no forwards to it")
	}
	if name, err := os.ReadFile("/etc/hostname"); err == nil {
		if err := unix.Sethostname([]byte(strings.TrimSpace(string(name)))); err != nil {
			x.log.Warn().Err(err).Msg("init: hostname")
		}
	}
	x.loadVsock()
}

// mount mounts a file system if nothing is mounted there.
func (m mountPoint) mount() error {
	if isMounted(m.path) {
		return nil
	}
	if err := os.Mkdir(m.path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := unix.Mount(m.kind, m.path, m.kind, m.flags, m.options); err != nil {
		return fmt.Errorf("mount %s: %w", m.path, err)
	}
	return nil
}

// isMounted reports whether a file system is mounted at a path that is a directory.
func isMounted(path string) bool {
	var here, above unix.Stat_t
	return unix.Stat(path, &here) == nil && unix.Stat(filepath.Dir(path), &above) == nil && here.Dev != above.Dev
}

// loadVsock has the module for vsock loaded, if the kernel does without and there is modprobe(8).
func (x *initSystem) loadVsock() {
	if _, err := os.Stat("/sys/module/vmw_vsock_virtio_transport"); err == nil {
		return
	}
	out, err := exec.Command("modprobe", "-q", "vmw_vsock_virtio_transport").CombinedOutput()
	if err != nil {
		x.log.Info().Err(err).Str("output", strings.TrimSpace(string(out))).Msg("init: no module for vsock loaded: the kernel must have it built in")
	}
}

// setLoopbackUp is "ip link set lo up".
func setLoopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(s) }()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFFLAGS, lo); err != nil {
		return os.NewSyscallError("SIOCGIFFLAGS", err)
	}
	lo.SetUint16(lo.Uint16() | unix.IFF_UP)
	return os.NewSyscallError("SIOCSIFFLAGS", unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo))
}

// unmount unmounts what was written to, or makes it read-only, so that nothing has to be repaired.
func unmount(log zerolog.Logger) {
	unix.Sync()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		log.Error().Err(err).Msg("init: file systems stay mounted")
		return
	}
	lines := strings.Split(strings.TrimSpace(string(mounts)), "\n")
	slices.Reverse(lines)
	for _, line := range lines {
		fields := strings.Fields(line)
		if len(fields) < 3 || slices.ContainsFunc(mountPoints, func(m mountPoint) bool { return m.kind == fields[2] }) {
			continue
		}
		path := unescapeMount(fields[1])
		if path != "/" && unix.Unmount(path, 0) == nil {
			continue
		}
		if err := unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			log.Warn().Err(err).Str("path", path).Msg("init: file system stays writable")
		}
	}
	unix.Sync()
}

// unescapeMount has the characters of a path that /proc/self/mounts writes as octal numbers.
func unescapeMount(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}
