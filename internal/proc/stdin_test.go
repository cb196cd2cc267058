//go:build linux

package proc_test

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// newSource makes a source of input of any reader.
func newSource(r io.Reader) io.WriterTo { return bufio.NewReaderSize(struct{ io.Reader }{r}, 512<<10) }

func text(s string) io.WriterTo { return newSource(strings.NewReader(s)) }

// A noise is a given number of pseudo-random bytes, in reads of pseudo-random sizes.
type noise struct {
	bytes *rand.ChaCha8
	sizes *rand.Rand
	left  int
}

func newNoise(seed byte, size int) *noise {
	return &noise{rand.NewChaCha8([32]byte{seed}), rand.New(rand.NewPCG(uint64(seed), 0)), size}
}

func (n *noise) Read(p []byte) (int, error) {
	if n.left == 0 {
		return 0, io.EOF
	}
	size := min(len(p), n.left, 1+n.sizes.IntN(1<<n.sizes.IntN(20)))
	_, _ = n.bytes.Read(p[:size])
	n.left -= size
	return size, nil
}

func checksum(tb testing.TB, r io.Reader) string {
	tb.Helper()
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		tb.Fatal(err)
	}
	return fmt.Sprintf("%d bytes, %x", n, h.Sum(nil))
}

const bulk = 16 << 20

func feed(in *proc.Input, src io.WriterTo) error {
	_, err := in.CopyFrom(src)
	return err
}

func TestInputReachesTheProcessWhole(t *testing.T) {
	s := newSpawner(t)
	for _, size := range []int{0, 1, 65536, 65537, bulk} {
		t.Run(fmt.Sprintf("bytes=%d", size), func(t *testing.T) {
			c := start(t, s, proc.Spec{Argv: []string{"sha256sum"}, Stdin: true, Stdout: true})
			if n, err := c.Stdin().CopyFrom(newSource(newNoise(1, size))); err != nil || n != int64(size) {
				t.Errorf("the process was given %d of %d bytes, %v", n, size, err)
			}
			_, want, _ := strings.Cut(checksum(t, newNoise(1, size)), ", ")
			if got := c.finish(t); got.stdout != want+"  -\n" || got.Code != 0 {
				t.Errorf("got %q, want %q", got.stdout, want)
			}
		})
	}
}

func TestInputComesBackThroughCat(t *testing.T) {
	c := start(t, newSpawner(t), proc.Spec{Argv: []string{"cat"}, Stdin: true, Stdout: true})
	if _, err := c.Stdin().CopyFrom(newSource(newNoise(2, bulk))); err != nil {
		t.Error(err)
	}
	got := checksum(t, strings.NewReader(c.finish(t).stdout))
	if want := checksum(t, newNoise(2, bulk)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The whole of it is taken off the source: its other end must not block.
func TestUnwantedInputIsDiscarded(t *testing.T) {
	s := newSpawner(t)
	const live = "; trap 'exit 4' USR1; echo ready; while :; do sleep 0.01; done"
	for name, script := range map[string]string{
		"closed at once":       "exec <&-" + live,
		"closed after a while": "head -c 100000 >/dev/null; exec <&-" + live,
		"no process any more":  "exit 4",
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, s, proc.Spec{Argv: shell(script), Stdin: true, Stdout: true})
			from := newNoise(3, bulk)
			if _, err := c.Stdin().CopyFrom(newSource(from)); err != nil || from.left != 0 {
				t.Errorf("%v, %d bytes left", err, from.left)
			}
			if strings.HasSuffix(script, live) {
				c.stdout.await(t, 1)
				if err := c.Signal("USR1"); err != nil {
					t.Error(err)
				}
			}
			if got := c.finish(t); got.Code != 4 {
				t.Errorf("got %+v", got.Exit)
			}
		})
	}
}

func TestUnreadInputDoesNotHoldUpTheEnd(t *testing.T) {
	s := newSpawner(t)
	for name, script := range map[string]string{
		"alone":         "echo ready; sleep 0.05; exit 6",
		"with a daemon": "sleep 1000 <&3 >/dev/null & echo ready; echo $!; exit 6",
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, s, proc.Spec{Argv: shell("exec 3<&0; " + script), Stdin: true, Stdout: true})
			copied := make(chan error, 1)
			go func() { copied <- feed(c.Stdin(), newSource(newNoise(4, bulk))) }() // ended by Reap
			if name == "with a daemon" {
				defer kill(t, c.stdout.pid(t, 2))
			}
			if got := c.finish(t); got.Code != 6 || got.cut {
				t.Errorf("got %+v", got)
			}
			if err := <-copied; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestInputThatIsCutOffDoesNotEnd(t *testing.T) {
	c := start(t, newSpawner(t), proc.Spec{
		Argv: shell(`read line; echo "$line"; if read line; then echo more; else echo end; fi`), Stdin: true, Stdout: true,
	})
	lost := errors.New("lost")
	from := io.MultiReader(strings.NewReader("hello\n"), iotest.ErrReader(lost))
	if _, err := c.Stdin().CopyFrom(newSource(from)); !errors.Is(err, lost) {
		t.Errorf("got %v", err)
	}
	c.stdout.await(t, 1)
	c.Terminate(0)
	if got := c.finish(t); got.stdout != "hello\n" || got.SignalName != "KILL" {
		t.Errorf("got %+v, %q", got.Exit, got.stdout)
	}
}

func TestInputIsBrokenOffByReap(t *testing.T) {
	c := start(t, newSpawner(t), proc.Spec{Argv: []string{"/bin/true"}, Stdin: true})
	r, w := io.Pipe()
	copied := make(chan error, 1)
	go func() { copied <- feed(c.Stdin(), newSource(r)) }() // ended by the end of r
	c.finish(t)
	if _, err := w.Write([]byte("too late")); err != nil {
		t.Error(err)
	}
	_ = w.Close()
	if err := <-copied; err != nil {
		t.Error(err)
	}
}
