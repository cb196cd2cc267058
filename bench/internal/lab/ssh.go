//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
)

// ErrNoSSH says that OpenSSH is not installed here.
var ErrNoSSH = errors.New("no OpenSSH: bench/openssh.sh DIRECTORY unpacks it for -openssh DIRECTORY")

// SSH is OpenSSH with a master connection that is up: each command is an ssh
// process, as with scripts that call ssh, and one session of the master's.
type SSH struct {
	server, master *Process
	shared         []string // arguments of a client of the master
	copier         []string // arguments of an scp over the master
	alone          []string // arguments of a client with a connection of its own
	made           string   // a directory that has been made for sshd
}

// StartSSH starts an sshd on a loopback port, with keys and a configuration of
// its own, and a master connection to it. The login shell finds an empty home,
// and so no start-up files.
func (l *Lab) StartSSH(ctx context.Context) (*SSH, error) {
	programs, err := l.findSSH()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(l.Dir, "ssh")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	config, err := prepareSSH(ctx, programs, dir, port)
	if err != nil {
		return nil, err
	}
	s := &SSH{made: separationDirectory()}
	argv, err := programs.serverArgv(dir, "-D", "-e", "-f", config)
	if err == nil {
		s.server, err = l.start(argv)
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	err = s.server.await(ctx, func() bool { return answers(port) })
	if err == nil {
		err = s.connect(ctx, l, programs, dir, port)
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// An openSSH are programs of OpenSSH.
type openSSH struct {
	sshd, ssh, scp, keygen string
	libraries              string // a directory, of sshd's libraries that may not be installed; empty: none
}

func (l *Lab) findSSH() (p openSSH, err error) {
	if l.OpenSSH != "" {
		libraries, err := filepath.Glob(filepath.Join(l.OpenSSH, "usr", "lib", "*-linux-gnu*"))
		if err != nil || len(libraries) == 0 {
			return p, errors.Join(ErrNoSSH, err)
		}
		in := func(name string) string { return filepath.Join(l.OpenSSH, "usr", name) }
		return openSSH{in("sbin/sshd"), in("bin/ssh"), in("bin/scp"), in("bin/ssh-keygen"), libraries[0]}, nil
	}
	p.sshd, err = exec.LookPath("sshd")
	if err != nil {
		p.sshd, err = exec.LookPath("/usr/sbin/sshd")
	}
	for _, other := range []struct {
		name string
		path *string
	}{{"ssh", &p.ssh}, {"scp", &p.scp}, {"ssh-keygen", &p.keygen}} {
		if err == nil {
			*other.path, err = exec.LookPath(other.name)
		}
	}
	if err != nil {
		return p, ErrNoSSH
	}
	return p, nil
}

// serverArgv is the command line of an sshd. It insists on a user sshd, which only its
// package makes: without one it gets a mount namespace with another /etc/passwd.
func (p openSSH) serverArgv(dir string, args ...string) ([]string, error) {
	argv := slices.Concat([]string{p.sshd}, args)
	if p.libraries != "" {
		argv = slices.Concat([]string{"env", "LD_LIBRARY_PATH=" + p.libraries}, argv)
	}
	if _, err := user.Lookup("sshd"); err == nil || os.Geteuid() != 0 {
		return argv, nil
	}
	users, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "passwd")
	users = append(users, "sshd:x:65534:65534::/nonexistent:/usr/sbin/nologin\n"...)
	const bind = `mount --bind "$0" /etc/passwd && exec "$@"`
	return slices.Concat([]string{"unshare", "--mount", "sh", "-c", bind, path}, argv), os.WriteFile(path, users, 0o644)
}

func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	return port, err
}

func answers(port string) bool {
	nc, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return false
	}
	_ = nc.Close()
	return true
}

// prepareSSH makes keys and sshd's configuration, and returns its path.
func prepareSSH(ctx context.Context, p openSSH, dir, port string) (string, error) {
	for _, key := range []string{"host", "user"} {
		keygen := exec.CommandContext(ctx, p.keygen, "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key))
		if out, err := keygen.CombinedOutput(); err != nil {
			return "", fmt.Errorf("ssh-keygen: %w: %s", err, out)
		}
	}
	home := filepath.Join(dir, "home")
	config := fmt.Sprintf(`ListenAddress 127.0.0.1:%s
HostKey %s
AuthorizedKeysFile %s
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitUserRC no
PrintMotd no
PrintLastLog no
StrictModes no
UseDNS no
LogLevel ERROR
MaxSessions 1000
MaxStartups 1000
Subsystem sftp internal-sftp
SetEnv HOME=%s
`, port, filepath.Join(dir, "host"), filepath.Join(dir, "user.pub"), home)
	path := filepath.Join(dir, "sshd_config")
	return path, errors.Join(os.Mkdir(home, 0o700), os.WriteFile(path, []byte(config), 0o600))
}

// separationDirectory makes the empty directory that sshd insists on when root runs it,
// if the package's unit has not. It returns the directory if it is new.
func separationDirectory() string {
	const path = "/run/sshd"
	if os.Geteuid() != 0 || os.Mkdir(path, 0o755) != nil {
		return ""
	}
	return path
}

func (s *SSH) connect(ctx context.Context, l *Lab, programs openSSH, dir, port string) error {
	me, err := user.Current()
	if err != nil {
		return err
	}
	control := filepath.Join(dir, "master")
	options := []string{
		programs.ssh, "-F", "none", "-p", port, "-l", me.Username, "-i", filepath.Join(dir, "user"),
		"-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=" + filepath.Join(dir, "known"),
		"-o", "LogLevel=ERROR", "-o", "Compression=no", "-o", "BatchMode=yes",
	}
	s.alone = slices.Clone(options)
	options = append(options, "-S", control)
	s.master, err = l.start(slices.Concat(options, []string{"-M", "-N", "127.0.0.1"}))
	if err != nil {
		return err
	}
	s.shared = slices.Concat(options, []string{"127.0.0.1"})
	s.copier = []string{programs.scp, "-S", programs.ssh, "-F", "none", "-o", "ControlPath=" + control, "-o", "User=" + me.Username, "-q", "-r"}
	return s.master.await(ctx, func() bool {
		_, err := os.Stat(control)
		return err == nil
	})
}

// Run runs a command through the master connection.
func (s *SSH) Run(ctx context.Context, c Command) error {
	var stderr bytes.Buffer
	argv := slices.Concat(s.shared, []string{strings.Join(c.Argv, " ")})
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, &stderr
	return said(cmd.Run(), &stderr)
}

// Copy copies a file or a directory by scp, which uses the master connection.
func (s *SSH) Copy(ctx context.Context, from, to string) error {
	argv := slices.Concat(s.copier, []string{from, "127.0.0.1:" + to})
	if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("scp: %w: %s", err, out)
	}
	return nil
}

// Stop ends both ends.
func (s *SSH) Stop() {
	for _, p := range []*Process{s.master, s.server} {
		if p != nil {
			p.Stop()
		}
	}
	if s.made != "" {
		_ = os.Remove(s.made)
	}
}
