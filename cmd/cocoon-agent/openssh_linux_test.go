package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// openSSHDir names a directory in which bench/openssh.sh has unpacked OpenSSH. Without it the
// installed programs are used, or the tests are skipped.
const openSSHDir = "OPENSSH"

// An openSSH is an sshd behind a Unix socket, and the clients that reach it through "proxy".
type openSSH struct {
	t       *testing.T
	dir     string // of keys and configuration
	unpack  string // of programs; empty: the installed ones
	options []string
}

func (o *openSSH) program(name string) string {
	if o.unpack != "" {
		for _, dir := range []string{"bin", "sbin"} {
			if path := filepath.Join(o.unpack, "usr", dir, name); exists(path) {
				return path
			}
		}
		o.t.Fatalf("%s=%s has no %s", openSSHDir, o.unpack, name)
	}
	for _, place := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(place); err == nil {
			return path
		}
	}
	o.t.Skipf("no %s: run bench/openssh.sh DIR and set %s=DIR", name, openSSHDir)
	return ""
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// newOpenSSH starts the server. Its socket is in the guest of an agent.
func newOpenSSH(t *testing.T) *openSSH {
	t.Helper()
	dir, err := os.MkdirTemp("", "ssh") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	o := &openSSH{t: t, dir: dir, unpack: os.Getenv(openSSHDir)}
	sshd := o.program("sshd")
	for _, key := range []string{"host", "user"} {
		o.run(o.program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key))
	}
	o.write("config", fmt.Sprintf(`HostKey %[1]s/host
AuthorizedKeysFile %[1]s/user.pub
PidFile none
UsePAM no
PermitRootLogin prohibit-password
StrictModes no
UseDNS no
LogLevel ERROR
Subsystem sftp internal-sftp
`, dir))
	if os.Geteuid() == 0 && os.Mkdir("/run/sshd", 0o755) == nil { // sshd insists on it
		t.Cleanup(func() { _ = os.Remove("/run/sshd") })
	}
	o.serve(slices.Concat(o.asUser(), []string{sshd, "-i", "-f", filepath.Join(dir, "config")}))

	target, _ := agent(t)
	self := program(t)
	t.Setenv(asAgent, "1") // for the ProxyCommand
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	o.options = []string{
		"-F", "none", "-i", filepath.Join(dir, "user"), "-o", "User=" + me.Username,
		"-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=" + filepath.Join(dir, "known"),
		"-o", "LogLevel=ERROR", "-o", "BatchMode=yes",
		"-o", fmt.Sprintf("ProxyCommand=%s proxy --target %s %s/sock", self.Path, target, dir),
	}
	return o
}

// asUser returns the words before sshd's command line. sshd insists on a user sshd, which only
// its package makes: without one it gets a mount namespace with another /etc/passwd.
func (o *openSSH) asUser() []string {
	var words []string
	if o.unpack != "" {
		libraries, err := filepath.Glob(filepath.Join(o.unpack, "usr", "lib", "*-linux-gnu*"))
		if err != nil || len(libraries) == 0 {
			o.t.Fatalf("%s=%s has no libraries: %v", openSSHDir, o.unpack, err)
		}
		words = []string{"env", "LD_LIBRARY_PATH=" + libraries[0]}
	}
	if _, err := user.Lookup("sshd"); err == nil || os.Geteuid() != 0 {
		return words
	}
	users, err := os.ReadFile("/etc/passwd")
	if err != nil {
		o.t.Fatal(err)
	}
	path := o.write("passwd", string(users)+"sshd:x:65534:65534::/nonexistent:/usr/sbin/nologin\n")
	return slices.Concat([]string{"unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/passwd && exec "$@"`, path}, words)
}

// serve runs argv for each connection to the socket, with the connection as its standard
// streams.
func (o *openSSH) serve(argv []string) {
	o.t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(o.dir, "sock"), Net: "unix"})
	if err != nil {
		o.t.Fatal(err)
	}
	var serving sync.WaitGroup
	o.t.Cleanup(func() { _ = ln.Close(); serving.Wait() })
	serving.Go(func() { // stopped by the close of ln
		for {
			nc, err := ln.AcceptUnix()
			if err != nil {
				return
			}
			file, err := nc.File()
			_ = nc.Close()
			if err != nil {
				return
			}
			serving.Go(func() { // ends with its client
				defer file.Close()
				cmd := exec.Command(argv[0], argv[1:]...)
				cmd.Stdin, cmd.Stdout = file, file
				var said bytes.Buffer
				cmd.Stderr = &said
				if err := cmd.Run(); err != nil && said.Len() > 0 {
					o.t.Logf("sshd: %v: %s", err, &said)
				}
			})
		}
	})
}

func (o *openSSH) write(name, text string) string {
	o.t.Helper()
	path := filepath.Join(o.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		o.t.Fatal(err)
	}
	return path
}

// run returns what a command prints.
func (o *openSSH) run(argv ...string) string {
	o.t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		o.t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, &stderr)
	}
	return string(out)
}

func (o *openSSH) command(program string, args ...string) *exec.Cmd {
	return exec.Command(o.program(program), slices.Concat(o.options, args)...)
}

func TestOpenSSHThroughProxy(t *testing.T) {
	o := newOpenSSH(t)
	seven := o.command("ssh", "vm", "exit 7")
	if err := seven.Run(); seven.ProcessState.ExitCode() != 7 {
		t.Errorf("ssh of exit 7: %v", err)
	}
	echo := o.command("ssh", "vm", "cat; echo done")
	echo.Stdin = strings.NewReader("typed\n")
	if out, err := echo.Output(); err != nil || string(out) != "typed\ndone\n" {
		t.Errorf("ssh of cat = %q, %v, want the input and done", out, err)
	}
	data := make([]byte, 8<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	from := o.write("from", string(data))
	for _, copied := range []struct{ from, to string }{{from, "vm:" + o.dir + "/there"}, {"vm:" + o.dir + "/there", o.dir + "/back"}} {
		if out, err := o.command("scp", "-S", o.program("ssh"), copied.from, copied.to).CombinedOutput(); err != nil {
			t.Fatalf("scp: %v: %s", err, out)
		}
	}
	if back, err := os.ReadFile(o.dir + "/back"); err != nil || !bytes.Equal(back, data) {
		t.Errorf("scp there and back = %d bytes, %v, want the same %d", len(back), err, len(data))
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if out, err := o.command("ssh", "vm", "head -c 1048576 /dev/zero").Output(); err != nil || len(out) != 1<<20 {
				t.Errorf("one of eight at once = %d bytes, %v", len(out), err)
			}
		})
	}
	all.Wait()
}

func TestRsyncThroughRsh(t *testing.T) {
	rsync, err := exec.LookPath("rsync")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no rsync")
		}
		t.Skip("no rsync: apt-get install rsync")
	}
	target, _ := agent(t)
	self := program(t)
	t.Setenv(asAgent, "1")
	dir := t.TempDir()
	makeFiles(t, dir+"/from")
	rsh := func(args ...string) {
		t.Helper()
		args = append([]string{"-a", "--delete", "--rsync-path=" + rsync, "-e", self.Path + " rsh --target " + target}, args...)
		if out, err := exec.Command(rsync, args...).CombinedOutput(); err != nil {
			t.Fatalf("rsync %v: %v: %s", args, err, out)
		}
	}
	same := func(one, other string) {
		t.Helper()
		if out, err := exec.Command("diff", "-r", "--no-dereference", one, other).CombinedOutput(); err != nil {
			t.Errorf("%s and %s differ: %v: %s", one, other, err, out)
		}
	}
	rsh(dir+"/from/", "vm:"+dir+"/there/")
	same(dir+"/from", dir+"/there")
	if err := os.Remove(dir + "/from/a file"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/from/new", []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	rsh(dir+"/from/", "3:"+dir+"/there/")
	same(dir+"/from", dir+"/there")
	rsh("vm:"+dir+"/there/", dir+"/back/")
	same(dir+"/from", dir+"/back")
	if os.Geteuid() == 0 {
		me, err := user.LookupId("0")
		if err != nil {
			t.Fatal(err)
		}
		rsh(me.Username+"@vm:"+dir+"/there/", dir+"/again/")
		same(dir+"/from", dir+"/again")
	}
}

// makeFiles makes a directory with files of several kinds.
func makeFiles(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir+"/sub dir/deep", 0o755); err != nil {
		t.Fatal(err)
	}
	big, err := os.Create(dir + "/sub dir/big")
	if err != nil {
		t.Fatal(err)
	}
	defer big.Close()
	if _, err := io.CopyN(big, rand.NewChaCha8([32]byte{1}), 4<<20); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if err := os.WriteFile(fmt.Sprintf("%s/sub dir/deep/%d", dir, i), fmt.Appendf(nil, "file %d", i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/a file", []byte("with a space"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a file", dir+"/link"); err != nil {
		t.Fatal(err)
	}
}
