//go:build linux

package kubelet_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"maps"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/util/exec"

	"github.com/cocoonstack/cocoon-agent/kubelet"
)

// status is what kubectl exits with, or -1 if it has an error to print instead.
func status(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := err.(exec.CodeExitError); ok { //nolint:errorlint // as kubectl does
		return exit.Code
	}
	return -1
}

func wantStatus(t *testing.T, err error, want int) {
	t.Helper()
	if got := status(err); got != want {
		t.Fatalf("exit status %d (%v, a %T), want %d", got, err, err, want)
	}
}

func sh(script string) []string { return []string{"sh", "-c", script} }

func TestExecHasTheCommandsExitStatus(t *testing.T) {
	c := newCluster(t)
	for _, over := range []string{overWebSocket, overSPDY, overV4} {
		for script, status := range map[string]int{
			"exit 0": 0, "exit 7": 7, "exit 255": 255, "kill -KILL $$": 137, "kill -INT $$": 130,
		} {
			t.Run(over+"/"+script, func(t *testing.T) {
				t.Parallel()
				x := call{over: over, command: sh(script), stdout: io.Discard, stderr: io.Discard}
				wantStatus(t, x.run(patiently(t), c.URL), status)
			})
		}
	}
}

func TestExecFailureHasAShellStatusAndAReason(t *testing.T) {
	c := newCluster(t)
	overAll(t, func(t *testing.T, over string) {
		for command, status := range map[string]int{"no-such-command": kubelet.StatusNotFound, "/etc/passwd": kubelet.StatusNotExecutable} {
			var stderr bytes.Buffer
			x := call{over: over, command: []string{command}, stdout: io.Discard, stderr: &stderr}
			wantStatus(t, x.run(patiently(t), c.URL), status)
			if !strings.HasPrefix(stderr.String(), "cocoon-agent: ") || !strings.Contains(stderr.String(), command) {
				t.Errorf("stderr %q", &stderr)
			}
			var stdout bytes.Buffer
			x = call{over: over, command: []string{command}, stdout: &stdout, tty: true}
			wantStatus(t, x.run(patiently(t), c.URL), status)
			if !strings.HasSuffix(stdout.String(), "\r\n") || !strings.Contains(stdout.String(), command) {
				t.Errorf("terminal %q", &stdout)
			}
			x = call{over: over, command: []string{command}, stdout: io.Discard}
			if err := x.run(patiently(t), c.URL); err == nil || !strings.Contains(err.Error(), command) {
				t.Errorf("without stderr: %v", err)
			}
		}
	})
}

func TestExecThatFailsSaysWhy(t *testing.T) {
	c := newCluster(t)
	c.add("nowhere", &kubelet.Target{Agent: "unix:///no/such/socket"})
	c.add("nonsense", &kubelet.Target{Agent: "tcp://1"})
	c.add("nodir", &kubelet.Target{Agent: shared, Dir: "/no/such"})
	overAll(t, func(t *testing.T, over string) {
		for pod, text := range map[string]string{
			"nosuch":   "no pod default/nosuch",
			"nowhere":  "connect to unix:///no/such/socket: connect: no such file or directory",
			"nonsense": `tcp`,
			"nodir":    "directory /no/such: no such file or directory",
		} {
			x := call{over: over, pod: pod, command: []string{"true"}, stdout: io.Discard, stderr: io.Discard}
			err := x.run(patiently(t), c.URL)
			if status(err) != -1 || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: error %v (%T), want %q", pod, err, err, text)
			}
		}
	})
}

func TestExecRunsAsTheTargetSays(t *testing.T) {
	c := newCluster(t)
	c.add("set", &kubelet.Target{Agent: shared, Dir: "/usr", Env: []string{"A=1", "PATH=/usr/bin:/bin"}, ClearEnv: true, Timeout: 2 * time.Second})
	var stdout, stderr bytes.Buffer
	x := call{pod: "set", command: sh("pwd; env; exec sleep 60"), stdout: &stdout, stderr: &stderr}
	wantStatus(t, x.run(patiently(t), c.URL), kubelet.StatusTimeout)
	if got := stdout.String(); !strings.HasPrefix(got, "/usr\n") || !strings.Contains(got, "A=1\n") {
		t.Errorf("stdout %q", got)
	}
	if want := "cocoon-agent: signal TERM (timed out)\n"; stderr.String() != want {
		t.Errorf("stderr %q, want %q", &stderr, want)
	}
}

// The status of a command that catches the signal is 0, but it has not succeeded.
func TestExit0AfterTheTimeoutIsNotSuccess(t *testing.T) {
	c := newCluster(t)
	c.add("brief", &kubelet.Target{Agent: shared, Timeout: 2 * time.Second})
	x := call{pod: "brief", command: sh(`trap "exit 0" TERM; while :; do sleep 0.05; done`), stdout: io.Discard, stderr: io.Discard}
	wantStatus(t, x.run(patiently(t), c.URL), kubelet.StatusTimeout)
}

func TestStdoutAndStderrAreApart(t *testing.T) {
	c := newCluster(t)
	for _, over := range []string{overWebSocket, overSPDY, overV4} {
		var stdout, stderr bytes.Buffer
		x := call{over: over, command: sh("echo out; echo err >&2"), stdout: &stdout, stderr: &stderr}
		wantStatus(t, x.run(patiently(t), c.URL), 0)
		if stdout.String() != "out\n" || stderr.String() != "err\n" {
			t.Errorf("%s: stdout %q, stderr %q", over, &stdout, &stderr)
		}
	}
}

// A stream is as many bytes as it says, and has their sum.
type stream struct {
	left int64
	sum  hash.Hash
	x    byte
}

func newStream(size int64) *stream { return &stream{left: size, sum: sha256.New()} }

func (s *stream) Read(b []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), s.left))
	for i := range b[:n] {
		b[i] = s.x
		s.x = s.x*5 + 1
	}
	s.sum.Write(b[:n])
	s.left -= int64(n)
	return n, nil
}

func TestBytesOfBothDirectionsArriveAsTheyAre(t *testing.T) {
	const size = 64 << 20
	c := newCluster(t)
	overAll(t, func(t *testing.T, over string) {
		in, out := newStream(size), sha256.New()
		var sum bytes.Buffer
		x := call{over: over, command: sh("exec 3>&1; tee /dev/fd/3 | sha256sum >&2"), stdin: in, stdout: out, stderr: &sum}
		if err := x.run(patiently(t), c.URL); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("%x", in.sum.Sum(nil))
		if got := fmt.Sprintf("%x", out.Sum(nil)); got != want {
			t.Errorf("what came back has the sum %s, want %s", got, want)
		}
		if got, _, _ := strings.Cut(sum.String(), " "); got != want {
			t.Errorf("what went there has the sum %s, want %s", got, want)
		}
	})
}

// held is an input that neither comes nor ends, until the test does.
func held(t *testing.T) io.Reader {
	t.Helper()
	r, w := io.Pipe()
	t.Cleanup(func() { _ = w.Close() })
	return r
}

func TestInputThatIsHeldOpenDoesNotHoldTheCommand(t *testing.T) {
	c := newCluster(t)
	for _, over := range []string{overWebSocket, overSPDY, overV4} {
		t.Run(over, func(t *testing.T) {
			began := time.Now()
			x := call{over: over, command: sh("exit 7"), stdin: held(t), stdout: io.Discard, stderr: io.Discard}
			wantStatus(t, x.run(patiently(t), c.URL), 7)
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestInputThatIsNotReadHoldsUpNothing(t *testing.T) {
	c := newCluster(t)
	overAll(t, func(t *testing.T, over string) {
		var stdout bytes.Buffer
		x := call{over: over, command: sh("sleep 0.5; echo end; exit 7"), stdin: newStream(8 << 20), stdout: &stdout, stderr: io.Discard}
		wantStatus(t, x.run(patiently(t), c.URL), 7)
		if stdout.String() != "end\n" {
			t.Errorf("stdout %q", &stdout)
		}
	})
}

// kubectl cp is a tar at either end.
func TestTarStreamIsCopiedBothWays(t *testing.T) {
	c := newCluster(t)
	overAll(t, func(t *testing.T, over string) {
		dir := t.TempDir()
		files := map[string]string{"one": "1\n", "sub/two": strings.Repeat("2", 300_000)}
		x := call{over: over, command: []string{"tar", "-xmf", "-", "-C", dir}, stdin: tarOf(t, files), stdout: io.Discard, stderr: io.Discard}
		wantStatus(t, x.run(patiently(t), c.URL), 0)
		var back, stderr bytes.Buffer
		x = call{over: over, command: []string{"tar", "cf", "-", "-C", dir, "one", "sub"}, stdout: &back, stderr: &stderr}
		wantStatus(t, x.run(patiently(t), c.URL), 0)
		if got := untar(t, &back); !maps.Equal(got, files) {
			t.Errorf("got %d files, stderr %q", len(got), &stderr)
		}
	})
}

func TestFiftyExecsAtOnceAreEachTheirOwn(t *testing.T) {
	c := newCluster(t)
	overAll(t, func(t *testing.T, over string) {
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				var stdout bytes.Buffer
				in := fmt.Sprintf("input %d\n", i)
				x := call{over: over, command: sh(fmt.Sprintf("cat; exit %d", i)), stdin: strings.NewReader(in), stdout: &stdout, stderr: io.Discard}
				err := x.run(patiently(t), c.URL)
				if status(err) != i || stdout.String() != in {
					t.Errorf("exec %d: %v, %q", i, err, &stdout)
				}
			})
		}
		all.Wait()
	})
}

func TestAgentThatIsKilledInTheMiddleIsAnError(t *testing.T) {
	overAll(t, func(t *testing.T, over string) {
		c := newCluster(t)
		agent, target := ownAgent(t)
		c.add("doomed", &kubelet.Target{Agent: target})
		begun := make(chan struct{})
		x := call{over: over, pod: "doomed", command: sh("echo up; exec sleep 60"), stdout: closer(begun), stderr: io.Discard}
		failed := make(chan error, 1)
		go func() { failed <- x.run(patiently(t), c.URL) }()
		<-begun
		_ = agent.Process.Signal(syscall.SIGKILL)
		err := <-failed
		if status(err) != -1 || !strings.Contains(err.Error(), "exit status of process") {
			t.Errorf("error %v (%T)", err, err)
		}
	})
}

// closer is a Writer that closes a channel at the first byte.
type closerWriter struct {
	once sync.Once
	c    chan<- struct{}
}

func closer(c chan<- struct{}) io.Writer { return &closerWriter{c: c} }

func (w *closerWriter) Write(p []byte) (int, error) {
	if len(p) > 0 {
		w.once.Do(func() { close(w.c) })
	}
	return len(p), nil
}
