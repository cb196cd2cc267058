//go:build linux

package kubelet_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtual-kubelet/virtual-kubelet/node/api"

	"github.com/cocoonstack/cocoon-agent/kubelet"
)

// logs is kubectl logs.
func logs(t *testing.T, c *cluster, pod, query string) (code int, body string) {
	t.Helper()
	code, from := openLogs(patiently(t), t, c, pod, query)
	b, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	return code, string(b)
}

func openLogs(ctx context.Context, t *testing.T, c *cluster, pod, query string) (code int, body io.Reader) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"/containerLogs/default/"+pod+"/main?"+query, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Body.Close() })
	return r.StatusCode, r.Body
}

func TestLogsOfAFileAndOfACommand(t *testing.T) {
	c := newCluster(t)
	file := filepath.Join(t.TempDir(), "log")
	var whole strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&whole, "line %d\n", i)
	}
	if err := os.WriteFile(file, []byte(whole.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	c.add("file", &kubelet.Target{Agent: shared, Logs: kubelet.LogFile(file), User: "nobody", Dir: "/no/such"})
	c.add("command", &kubelet.Target{Agent: shared, Logs: kubelet.LogCommand([]string{"cat", file}, nil)})
	for _, pod := range []string{"file", "command"} {
		for query, want := range map[string]string{
			"":                          whole.String(),
			"tailLines=2":               "line 998\nline 999\n",
			"tailLines=2&limitBytes=10": "line 998\nl",
			"limitBytes=6":              "line 0",
			"limitBytes=1000000":        whole.String(),
		} {
			if code, got := logs(t, c, pod, query); code != http.StatusOK || got != want {
				t.Errorf("%s?%s: %d, %d bytes, want %d: %.40q", pod, query, code, len(got), len(want), got)
			}
		}
	}
}

func TestLogsSayWhatTheyCannotDo(t *testing.T) {
	c := newCluster(t)
	c.add("file", &kubelet.Target{Agent: shared, Logs: kubelet.LogFile("/etc/hostname")})
	c.add("relative", &kubelet.Target{Agent: shared, Logs: kubelet.LogFile("log")})
	c.add("missing", &kubelet.Target{Agent: shared, Logs: kubelet.LogFile("/no/such/log")})
	c.add("command", &kubelet.Target{Agent: shared, Logs: kubelet.LogCommand([]string{"cat", "/dev/null"}, nil)})
	c.add("nocommand", &kubelet.Target{Agent: shared, Logs: kubelet.LogCommand([]string{"no-such-command"}, nil)})
	c.add("failing", &kubelet.Target{Agent: shared, Logs: kubelet.LogCommand(sh("echo some; echo oops >&2; exit 3"), nil)})
	c.add("follows", &kubelet.Target{Agent: shared, Logs: kubelet.LogCommand([]string{"true"}, []string{"true"})})
	for _, x := range []struct {
		pod, query string
		code       int
		text       string
	}{
		{"vm", "", http.StatusNotFound, "pod default/vm has no log"},
		{"nosuch", "", http.StatusNotFound, "no pod default/nosuch"},
		{"file", "previous=true", http.StatusBadRequest, "--previous is not supported"},
		{"file", "sinceSeconds=5", http.StatusBadRequest, "--since: not supported"},
		{"file", "sinceTime=2026-01-02T03:04:05Z&timestamps=true", http.StatusBadRequest, "--since-time, --timestamps: not supported"},
		{"relative", "", http.StatusBadRequest, "not an absolute path"},
		{"missing", "", http.StatusInternalServerError, "/no/such/log"},
		{"command", "follow=true", http.StatusBadRequest, "--follow is not supported"},
		{"command", "timestamps=true", http.StatusBadRequest, "--timestamps: not supported"},
		{"follows", "follow=true&tailLines=1", http.StatusBadRequest, "--tail with --follow is not supported"},
		{"nocommand", "", http.StatusInternalServerError, "no-such-command"},
		{"failing", "tailLines=1", http.StatusOK, "some\n"},
		{"failing", "tailLines=1", http.StatusOK, "exit status 3"},
		{"failing", "tailLines=1", http.StatusOK, ": oops"},
		{"failing", "", http.StatusOK, "exit status 3"},
	} {
		if code, got := logs(t, c, x.pod, x.query); code != x.code || !strings.Contains(got, x.text) {
			t.Errorf("%s?%s: %d %q, want %d %q", x.pod, x.query, code, got, x.code, x.text)
		}
	}
}

func TestLogsFollowAFileUntilTheCallerGoes(t *testing.T) {
	c := newCluster(t)
	file := filepath.Join(t.TempDir(), "log")
	write := func(flags int, text string) {
		f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|flags, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = f.WriteString(text)
		_ = f.Close()
	}
	write(0, "one\n")
	c.add("file", &kubelet.Target{Agent: shared, Logs: kubelet.LogFile(file)})
	ctx, cancel := context.WithCancel(patiently(t))
	defer cancel()
	_, body := openLogs(ctx, t, c, "file", "follow=true&tailLines=10")
	lines := bufio.NewReader(body)
	want := func(text string) {
		if got, err := lines.ReadString('\n'); got != text {
			t.Fatalf("%q, %v, want %q", got, err, text)
		}
	}
	want("one\n")
	write(os.O_APPEND, "two\n")
	want("two\n")
	if err := os.Rename(file, file+".1"); err != nil { // as logrotate does
		t.Fatal(err)
	}
	write(0, "three\n")
	want("three\n")
	if n := len(tails(file)); n != 1 {
		t.Fatalf("%d processes read the log", n)
	}
	cancel()
	eventually(t, goneWithin, "tail has gone", func() bool { return len(tails(file)) == 0 })
}

// tails returns the pids of processes that read file.
func tails(file string) []string {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var pids []string
	for _, path := range all {
		line, _ := os.ReadFile(path)
		if argv := strings.Split(string(line), "\x00"); argv[0] == "tail" && slices.Contains(argv, file) {
			pids = append(pids, path)
		}
	}
	return pids
}

func TestLogReaderThatIsClosedEndsItsCommand(t *testing.T) {
	c := newCluster(t)
	pid := filepath.Join(t.TempDir(), "pid")
	c.add("busy", &kubelet.Target{Agent: shared, Logs: kubelet.LogCommand(sh("trap '' TERM; echo $$ >"+pid+"; while :; do echo line; done"), nil)})
	r, err := c.Pods.GetContainerLogs(t.Context(), "default", "busy", "main", api.ContainerLogOpts{LimitBytes: 3})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); string(got) != "lin" || err != nil {
		t.Errorf("ReadAll = %q, %v, want %q", got, err, "lin")
	}
	began := time.Now()
	if err := r.Close(); err != nil || time.Since(began) > goneWithin {
		t.Errorf("close: %v, after %v", err, time.Since(began))
	}
	for _, pid := range pidsOf(t, pid) {
		eventually(t, time.Second, "the command is gone", func() bool { return gone(pid) })
	}
}

func TestLogsOfTheJournalAreJournalctls(t *testing.T) {
	source := kubelet.LogJournal("-u", "nginx")
	at := time.Unix(1_700_000_000, 5)
	for _, x := range []struct {
		opts api.ContainerLogOpts
		want string
	}{
		{api.ContainerLogOpts{}, "--output=cat --no-tail"},
		{api.ContainerLogOpts{Tail: 5, Follow: true}, "--output=cat --lines=5 --follow"},
		{api.ContainerLogOpts{Timestamps: true, SinceSeconds: 60}, "--output=short-iso-precise --no-tail --since=-60s"},
		{api.ContainerLogOpts{SinceTime: at}, "--output=cat --no-tail --since=@1700000000"},
	} {
		argv, err := source(x.opts)
		if got := strings.Join(argv, " "); err != nil || got != "journalctl --quiet --no-pager "+x.want+" -u nginx" {
			t.Errorf("LogJournal = %q, %v, want %s", got, err, x.want)
		}
	}
	if _, err := source(api.ContainerLogOpts{Previous: true}); err == nil {
		t.Error("--previous is taken")
	}
}

// A guest that says that a log's command runs, and then nothing.
func TestLogReaderEndsWithItsContext(t *testing.T) {
	t.Parallel()
	agent, target := ownAgent(t)
	c := newCluster(t)
	c.add("follows", &kubelet.Target{Agent: target, Logs: kubelet.LogCommand(nil, sh("echo ready; sleep 1000"))})
	ctx, cancel := context.WithCancel(patiently(t))
	defer cancel()
	r, err := c.Pods.GetContainerLogs(ctx, "default", "follows", "main", api.ContainerLogOpts{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReaderSize(r, 16).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the log reads %q, %v, want %q", line, err, "ready\n")
	}
	if err := agent.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() { // ends with ctx
		_, err := io.Copy(io.Discard, r)
		result <- err
	}()
	cancel()
	began := time.Now()
	if err := <-result; !errors.Is(err, context.Canceled) || time.Since(began) > goneWithin {
		t.Errorf("Read = %v after %v, want context.Canceled at once", err, time.Since(began))
	}
	if err := r.Close(); err != nil || time.Since(began) > patience {
		t.Errorf("Close = %v after %v", err, time.Since(began))
	}
}

func TestLogErrorIsPrintableAndShort(t *testing.T) {
	c := newCluster(t)
	c.add("hostile", &kubelet.Target{Agent: shared, Logs: kubelet.LogCommand(sh(
		`printf '\033[31mred\nforged\342\200\256' >&2; head -c 100000 /dev/zero | tr '\0' x >&2; exit 3`), nil)})
	_, got := logs(t, c, "hostile", "")
	if !strings.Contains(got, "exit status 3: \uFFFD[31mred forged\uFFFDxxx") || strings.ContainsAny(got, "\x1b\u202e") || len(got) > 2<<10 {
		t.Errorf("%d bytes: %.200q", len(got), got)
	}
}
