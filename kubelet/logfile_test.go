//go:build linux

package kubelet_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/virtual-kubelet/virtual-kubelet/node/api"

	"github.com/cocoonstack/cocoon-agent/kubelet"
)

// printLog runs here what a LogFile runs in a guest.
func printLog(t *testing.T, name string, opts api.ContainerLogOpts, change func(*exec.Cmd)) (stdout, stderr string, err error) {
	t.Helper()
	argv, err := kubelet.LogFile(name)(opts)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(patiently(t), argv[0], argv[1:]...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	change(cmd)
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func asItIs(*exec.Cmd) {}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, to, name string) {
	t.Helper()
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
}

func TestLogFileThatIsALinkIsRefused(t *testing.T) {
	c := newCluster(t)
	dir := t.TempDir()
	write(t, dir+"/secret", "secret\n")
	link(t, dir+"/secret", dir+"/log")
	c.add("link", &kubelet.Target{Agent: shared, Logs: kubelet.LogFile(dir + "/log")})
	for _, query := range []string{"", "tailLines=1", "follow=true"} {
		code, body := logs(t, c, "link", query)
		want := dir + "/log: it is a symbolic link, or has just been replaced, and leads to " + dir + "/secret"
		if code != http.StatusInternalServerError || !strings.Contains(body, want) || strings.Contains(body, "secret\n") {
			t.Errorf("logs %q: %d, %q; want 500 and %q", query, code, body, want)
		}
	}
}

func TestLogFileIsPrintedByAnyOfItsNames(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/real dir", 0o700); err != nil {
		t.Fatal(err)
	}
	link(t, "real dir", dir+"/linked")
	for _, name := range []string{"log", "-n", "a log's $(name) \\\"", "*", "new\nline"} {
		write(t, dir+"/real dir/"+name, "one\ntwo\n")
		for _, path := range []string{dir + "/real dir/" + name, dir + "/linked/" + name, dir + "//linked/../linked/./" + name} {
			if out, errs, err := printLog(t, path, api.ContainerLogOpts{Tail: 1}, asItIs); out != "two\n" || err != nil {
				t.Errorf("LogFile(%q) prints %q, %v, %s; want two", path, out, err, errs)
			}
		}
	}
}

func TestLogFileOfAGuestWithoutReadlinkIsRefused(t *testing.T) {
	dir, bin := t.TempDir(), t.TempDir()
	write(t, dir+"/log", "one\n")
	for _, name := range []string{"sh", "tail"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		link(t, path, filepath.Join(bin, name))
	}
	out, errs, err := printLog(t, dir+"/log", api.ContainerLogOpts{}, func(cmd *exec.Cmd) { cmd.Env = []string{"PATH=" + bin} })
	if out != "" || err == nil || !strings.Contains(errs, "cannot find out whether it is a symbolic link") {
		t.Errorf("LogFile prints %q, %v, %s; want nothing and why", out, err, errs)
	}
}

// A user of the guest may change the name while the log is being opened.
func TestLogFileThatChangesLeaksNothing(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/secret", "secret\n")
	done := make(chan struct{})
	var changing sync.WaitGroup
	changing.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			default:
			}
			next := fmt.Sprint(dir, "/next", n)
			if n%2 == 0 {
				_ = os.Symlink(dir+"/secret", next)
			} else {
				_ = os.WriteFile(next, []byte("log\n"), 0o600)
			}
			_ = os.Rename(next, dir+"/log")
		}
	})
	defer changing.Wait()
	defer close(done)
	refused := 0
	for range 200 {
		out, _, err := printLog(t, dir+"/log", api.ContainerLogOpts{}, asItIs)
		switch {
		case strings.Contains(out, "secret"):
			t.Fatalf("LogFile prints %q", out)
		case err != nil:
			refused++
		}
	}
	if refused == 0 {
		t.Error("the link was never refused: nothing is shown")
	}
}
