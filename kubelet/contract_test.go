//go:build linux

package kubelet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/virtual-kubelet/virtual-kubelet/node/api"
	"k8s.io/utils/exec"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/kubelet"
)

// An attachIO is what virtual-kubelet hands over, without one.
type attachIO struct {
	stdin          io.Reader
	stdout, stderr io.WriteCloser
	tty            bool
	resize         chan api.TermSize
}

func (a *attachIO) Stdin() io.Reader            { return a.stdin }
func (a *attachIO) Stdout() io.WriteCloser      { return a.stdout }
func (a *attachIO) Stderr() io.WriteCloser      { return a.stderr }
func (a *attachIO) TTY() bool                   { return a.tty }
func (a *attachIO) Resize() <-chan api.TermSize { return a.resize }

// A sink is an output of a caller's.
type sink struct {
	mu     sync.Mutex
	text   bytes.Buffer
	writes int  // of a byte or more
	beats  int  // of none
	closed bool // and every Write after it fails the test
	late   bool
	err    error // of each Write
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = s.late || s.closed
	if s.err != nil {
		return 0, s.err
	}
	if len(p) == 0 {
		s.beats++
	} else {
		s.writes++
	}
	return s.text.Write(p)
}

func (s *sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func (s *sink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *sink) state() (text string, beats int, closed, late bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String(), s.beats, s.closed, s.late
}

func vm(tb testing.TB) *kubelet.Pods {
	tb.Helper()
	return kubelet.New(newPool(tb), func(context.Context, string, string, string) (*kubelet.Target, error) {
		return &kubelet.Target{Agent: shared}, nil
	})
}

func run(p *kubelet.Pods, a *attachIO, script string) error {
	return p.RunInContainer(context.Background(), "default", "vm", "main", sh(script), a)
}

// virtual-kubelet looks at the error itself, and not at what it wraps.
func TestErrorOfACommandIsItselfAnExitError(t *testing.T) {
	for script, status := range map[string]int{"exit 7": 7, "exit 255": 255, "kill -9 $$": 137} {
		err := run(vm(t), &attachIO{stdout: &sink{}, stderr: &sink{}}, script)
		exit, ok := err.(exec.ExitError) //nolint:errorlint // as virtual-kubelet does
		if !ok || !exit.Exited() || exit.ExitStatus() != status {
			t.Errorf("%s: %v (%T), want status %d", script, err, err, status)
		}
	}
}

func TestOutputsAreCompleteAndClosedAtTheReturn(t *testing.T) {
	out, errs := &sink{}, &sink{}
	if err := run(vm(t), &attachIO{stdout: out, stderr: errs}, "head -c 1000000 /dev/zero; echo end >&2"); err != nil {
		t.Fatal(err)
	}
	if text, _, closed, _ := out.state(); len(text) != 1_000_000 || !closed {
		t.Errorf("stdout has %d bytes, closed: %t", len(text), closed)
	}
	if text, _, closed, _ := errs.state(); text != "end\n" || !closed {
		t.Errorf("stderr has %q, closed: %t", text, closed)
	}
}

// Over websockets a terminal has a stderr all the same.
func TestTerminalHasOneOutput(t *testing.T) {
	out, errs := &sink{}, &sink{}
	a := &attachIO{stdout: out, stderr: errs, tty: true, resize: make(chan api.TermSize, 1)}
	a.resize <- api.TermSize{Width: 80, Height: 24}
	if err := run(vm(t), a, "echo out; echo err >&2"); err != nil {
		t.Fatal(err)
	}
	if text, _, _, _ := out.state(); text != "out\r\nerr\r\n" {
		t.Errorf("the terminal shows %q", text)
	}
	if text, beats, _, _ := errs.state(); text != "" || beats > 0 {
		t.Errorf("stderr has %q, and %d beats", text, beats)
	}
}

func TestHeartbeatIsWrittenOnlyDuringTheCall(t *testing.T) {
	p := vm(t)
	p.Heartbeat = 5 * time.Millisecond
	for name, a := range map[string]*attachIO{
		"stdout": {stdout: &sink{}, stderr: &sink{}},
		"stderr": {stderr: &sink{}},
	} {
		if err := run(p, a, "sleep 0.3"); err != nil {
			t.Fatal(err)
		}
		to, _ := a.stdout.(*sink)
		if to == nil {
			to = a.stderr.(*sink)
		}
		text, beats, _, late := to.state()
		if text != "" || beats < 5 || late {
			t.Errorf("%s: %q, %d beats, after the end: %t", name, text, beats, late)
		}
	}
}

var errBroken = errors.New("broken")

func TestHeartbeatThatFailsEndsTheCommand(t *testing.T) {
	p := vm(t)
	p.Heartbeat = 5 * time.Millisecond
	out := &sink{}
	out.fail(errBroken)
	began := time.Now()
	err := run(p, &attachIO{stdout: out}, "sleep 60")
	if !errors.Is(err, errBroken) || time.Since(began) > goneWithin {
		t.Errorf("%v, after %v", err, time.Since(began))
	}
}

func TestContextThatEndsEndsTheCommand(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out := &sink{}
	ended := make(chan error, 1)
	go func() {
		ended <- vm(t).RunInContainer(ctx, "default", "vm", "main", sh("echo up; exec sleep 60"), &attachIO{stdout: out})
	}()
	eventually(t, patience, "the command is up", func() bool { text, _, _, _ := out.state(); return text == "up\n" })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// The caller's input is read to the end, also after the command has ended: it would
// hold up everything else on its connection.
func TestInputIsReadWhenNobodyWantsIt(t *testing.T) {
	p := vm(t)
	for _, argv := range [][]string{sh("exec <&-; sleep 0.2"), {"no-such-command"}, nil} {
		in := newStream(1 << 20)
		_ = p.RunInContainer(t.Context(), "default", "vm", "main", argv, &attachIO{stdin: in, stdout: &sink{}, stderr: &sink{}})
		if in.left != 0 {
			t.Errorf("%q: %d bytes are left", argv, in.left)
		}
	}
}

// A call that ends while input comes waits for a pause of it, but not for ever.
func TestCallWaitsForAPauseOfItsInput(t *testing.T) {
	r, w := io.Pipe()
	stop := make(chan struct{})
	var feeding sync.WaitGroup
	feeding.Go(func() {
		for {
			select {
			case <-stop:
				_ = w.Close()
				return
			default:
				_, _ = w.Write([]byte("x"))
			}
		}
	})
	began := time.Now()
	err := run(vm(t), &attachIO{stdin: r, stdout: &sink{}}, "exit 4")
	took := time.Since(began)
	close(stop)
	go func() { _, _ = io.Copy(io.Discard, r) }()
	feeding.Wait()
	if exit, ok := err.(exec.ExitError); !ok || exit.ExitStatus() != 4 { //nolint:errorlint // as virtual-kubelet does
		t.Errorf("error %v", err)
	}
	if took < 3*time.Second || took > 3*time.Second+patience {
		t.Errorf("it took %v", took)
	}
}

// A closed channel is what CRI has, and virtual-kubelet sends 0x0 for as long as
// somebody takes it, when the caller's sizes have ended.
func TestClosedSizesDoNotResizeTheTerminal(t *testing.T) {
	for name, end := range map[string]func(a *attachIO, taken *atomic.Int32, stop <-chan struct{}){
		"zeros": func(a *attachIO, taken *atomic.Int32, stop <-chan struct{}) {
			for {
				select {
				case a.resize <- api.TermSize{}:
					taken.Add(1)
				case <-stop:
					return
				}
			}
		},
		"closed": func(a *attachIO, _ *atomic.Int32, _ <-chan struct{}) { close(a.resize) },
	} {
		for _, first := range []bool{true, false} {
			a := &attachIO{stdout: &sink{}, tty: true, resize: make(chan api.TermSize)}
			stop := make(chan struct{})
			var taken atomic.Int32
			var sending sync.WaitGroup
			sending.Go(func() {
				if first {
					a.resize <- api.TermSize{Width: 101, Height: 31}
				}
				end(a, &taken, stop)
			})
			if err := run(vm(t), a, "sleep 0.3; stty size"); err != nil {
				t.Fatal(err)
			}
			close(stop)
			sending.Wait()
			want := "24 80\r\n"
			if first {
				want = "31 101\r\n"
			}
			if text, _, _, _ := a.stdout.(*sink).state(); text != want || taken.Load() > 1 {
				t.Errorf("%s: size %q, want %q; %d zeros were taken", name, text, want, taken.Load())
			}
		}
	}
}

func TestTerminalWithoutASizeBegins(t *testing.T) {
	a := &attachIO{stdout: &sink{}, tty: true, resize: make(chan api.TermSize)}
	if err := run(vm(t), a, "stty size"); err != nil {
		t.Fatal(err)
	}
	if text, _, _, _ := a.stdout.(*sink).state(); text != "24 80\r\n" {
		t.Errorf("size %q", text)
	}
}

// virtual-kubelet finds in it what it looks for: an errdefs kind, or a status.
func TestErrorOfTheResolverIsToldAsItIs(t *testing.T) {
	for _, want := range []error{errBroken, exec.CodeExitError{Err: errBroken, Code: 3}, &client.RemoteError{Kind: client.NotFound, Message: "x"}} {
		p := kubelet.New(newPool(t), func(context.Context, string, string, string) (*kubelet.Target, error) { return nil, want })
		if err := run(p, &attachIO{stdout: &sink{}}, "true"); err != want { //nolint:errorlint // is it this one
			t.Errorf("%v, want %v", err, want)
		}
	}
}

func TestExecOfNothingIsAnError(t *testing.T) {
	err := vm(t).RunInContainer(t.Context(), "default", "vm", "main", nil, &attachIO{stdout: &sink{}})
	if err == nil || !strings.Contains(err.Error(), "no command") {
		t.Errorf("error %v", err)
	}
}

// Of a command whose end is not known, or whose output is not complete, there is
// no status.
func TestOnlyAKnownEndHasAStatus(t *testing.T) {
	refusal := func(kind client.Kind) error { return &client.RemoteError{Kind: kind, Message: "refused"} }
	for _, x := range []struct {
		err    error
		status int
	}{
		{&client.LostExitError{PID: 5, Err: client.ErrLost}, -1},
		{&client.TruncatedError{Stream: "stdout", Got: 1, Sent: 2}, -1},
		{&client.MaybeStartedError{Err: client.ErrLost}, -1},
		{&client.LostExitError{PID: 5, Err: refusal(client.NotFound)}, -1},
		{client.ErrWaitDelay, -1},
		{io.EOF, -1},
		{refusal(client.NotFound), kubelet.StatusNotFound},
		{refusal(client.PermissionDenied), kubelet.StatusNotExecutable},
		{refusal(client.BadRequest), -1},
		{refusal(client.Unsupported), -1},
		{refusal(client.Limit), -1},
		{refusal(client.ShuttingDown), -1},
		{refusal(client.Internal), -1},
	} {
		errs := &sink{}
		status, result := kubelet.StatusOf(x.err, errs)
		if status != x.status || result.Error() != x.err.Error() {
			t.Errorf("%v (%T): %v, status %d, want %d", x.err, x.err, result, status, x.status)
		}
		if text, _, _, _ := errs.state(); (status != -1) != (text == "cocoon-agent: refused\n") {
			t.Errorf("%v: stderr %q", x.err, text)
		}
		if status, result := kubelet.StatusOf(x.err, nil); status != -1 || result.Error() != x.err.Error() {
			t.Errorf("%v: without a stderr: %v, status %d", x.err, result, status)
		}
	}
}

// Of a signal, protocol version 1 only reports the exit code -1, which kubectl does not
// take for a status.
func TestUnknownEndOfVersion1IsAnError(t *testing.T) {
	pool := client.NewPool(client.PoolConfig{Protocol: client.Protocol1})
	defer pool.Close()
	pods := kubelet.New(pool, func(context.Context, string, string, string) (*kubelet.Target, error) {
		return &kubelet.Target{Agent: shared}, nil
	})
	for script, status := range map[string]int{"exit 7": 7, "kill -KILL $$": -1} {
		err := pods.RunInContainer(t.Context(), "ns", "pod", "", []string{"sh", "-c", script}, &attachIO{stdout: &sink{}, stderr: &sink{}})
		exit, ok := err.(exec.ExitError) //nolint:errorlint // as virtual-kubelet does
		if err == nil || ok != (status != -1) || ok && exit.ExitStatus() != status {
			t.Errorf("%s: %v (%T), want status %d", script, err, err, status)
		}
	}
}
