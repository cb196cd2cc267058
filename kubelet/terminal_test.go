//go:build linux

package kubelet_test

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/tools/remotecommand"
)

// sizes is a terminal whose size the test changes.
type sizes chan remotecommand.TerminalSize

func (s sizes) Next() *remotecommand.TerminalSize {
	size, ok := <-s
	if !ok {
		return nil
	}
	return &size
}

// oneSize is a terminal whose size does not change.
func oneSize() sizes {
	s := make(sizes, 1)
	s <- remotecommand.TerminalSize{Width: 80, Height: 24}
	close(s)
	return s
}

// A screen is what a terminal shows. It is safe for concurrent use.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func TestTerminalFollowsTheCallersSize(t *testing.T) {
	c := newCluster(t)
	for _, over := range []string{overWebSocket, overSPDY, overV4} {
		t.Run(over, func(t *testing.T) {
			shown, resized := &screen{}, make(sizes, 1)
			defer close(resized)
			resized <- remotecommand.TerminalSize{Width: 101, Height: 31}
			x := call{
				over: over, tty: true, stdin: held(t), stdout: shown, sizes: resized,
				command: sh(`i=0; while [ $i -lt 4 ]; do s=$(stty size); [ "$s" = "$l" ] && sleep 0.02 || { l=$s; i=$((i+1)); echo "$s"; }; done; printf "last byte:x"; exit 7`),
			}
			ended := make(chan error, 1)
			go func() { ended <- x.run(patiently(t), c.URL) }()
			for _, next := range []struct {
				want string
				then remotecommand.TerminalSize
			}{
				{"31 101\r\n", remotecommand.TerminalSize{Width: 102, Height: 32}},
				{"32 102\r\n", remotecommand.TerminalSize{Width: 103, Height: 33}},
				{"33 103\r\n", remotecommand.TerminalSize{Width: 104, Height: 34}},
			} {
				eventually(t, patience, next.want, func() bool { return strings.HasSuffix(shown.String(), next.want) })
				resized <- next.then
			}
			wantStatus(t, <-ended, 7)
			if want := "31 101\r\n32 102\r\n33 103\r\n34 104\r\nlast byte:x"; shown.String() != want {
				t.Errorf("the terminal shows %q, want %q", shown, want)
			}
		})
	}
}

// The last bytes of a terminal's program arrive, however fast it ends.
func TestLastByteOfATerminalArrives(t *testing.T) {
	c := newCluster(t)
	overAll(t, func(t *testing.T, over string) {
		const text = 100_000
		for range 20 {
			shown := &screen{}
			x := call{over: over, tty: true, stdin: held(t), stdout: shown, sizes: oneSize(), command: sh(`head -c 100000 /dev/zero | tr "\0" x; printf "$"`)}
			wantStatus(t, x.run(patiently(t), c.URL), 0)
			if got := shown.String(); len(got) != text+1 || !strings.HasSuffix(got, "x$") {
				t.Fatalf("%d bytes, want %d", len(got), text+1)
			}
		}
	})
}

func TestTerminalIsTypedInto(t *testing.T) {
	c := newCluster(t)
	overAll(t, func(t *testing.T, over string) {
		shown := &screen{}
		r, w := io.Pipe()
		defer w.Close()
		x := call{over: over, tty: true, stdin: r, stdout: shown, sizes: oneSize(), command: sh("stty -echo; echo ready; read a; echo got $a; cat; exit 3")}
		ended := make(chan error, 1)
		go func() { ended <- x.run(patiently(t), c.URL) }()
		eventually(t, patience, "ready", func() bool { return strings.Contains(shown.String(), "ready") })
		_, _ = io.WriteString(w, "this\n\x04") // ^D ends cat
		wantStatus(t, <-ended, 3)
		if want := "ready\r\ngot this\r\n"; shown.String() != want {
			t.Errorf("the terminal shows %q, want %q", shown, want)
		}
	})
}
