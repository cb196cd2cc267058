//go:build linux

package job_test

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/job"
)

// A putter has the length of what was put.
type putter struct{ size int64 }

func (p *putter) Put(parts ...[]byte) job.Bytes {
	b := job.Bytes{At: p.size}
	for _, part := range parts {
		b.Len += int64(len(part))
	}
	p.size += b.Len
	return b
}

// A longInput is more than a pipe has room for. Its host may be lost behind it.
type longInput struct {
	begun chan struct{} // closed by WriteTo
	err   error
}

// longSize is more than the largest pipe.
const longSize = 3 << 20

func (l longInput) WriteTo(w io.Writer) (n int64, err error) {
	close(l.begun)
	for range 3 {
		wrote, err := w.Write(make([]byte, longSize/3))
		n += int64(wrote)
		if err != nil {
			return n, err
		}
	}
	return n, l.err
}

// Input that a job has got, and has not read when it is suspended, is neither lost nor taken for all.
func TestSuspendedJobKeepsItsInput(t *testing.T) {
	for name, lost := range map[string]error{"whole": nil, "its host is lost": io.ErrUnexpectedEOF} {
		t.Run(name, func(t *testing.T) {
			table := newTable(t)
			gate := filepath.Join(t.TempDir(), "gate")
			if err := syscall.Mkfifo(gate, 0o600); err != nil {
				t.Fatal(err)
			}
			j := start(t, table, 0, "read -r x <"+gate+"; head -c "+strconv.Itoa(longSize)+" | wc -c; cat")
			in, out := longInput{make(chan struct{}), lost}, newSink()
			over := make(chan *job.Exit, 1)
			go func() { over <- j.Follow(job.Streams{Stdin: in, Stdout: out}) }() // ends with the command
			<-in.begun
			for range 3 {
				if err := table.Suspend(t.Context()); err != nil {
					t.Fatal(err)
				}
				s, err := table.Save(new(putter))
				if err != nil || len(s.Jobs) != 1 || s.Jobs[0].Input.Len < longSize/2 || s.Jobs[0].InputEnd != (lost == nil) || s.Jobs[0].Process.InputEnded {
					t.Fatalf("Save = %+v, %v, want most of the input", s, err)
				}
				table.Resume()
			}
			if err := os.WriteFile(gate, []byte("go\n"), 0); err != nil {
				t.Fatal(err)
			}
			if lost != nil { // its stdin stays open
				<-out.wrote
				j.Kill(0)
			}
			x := <-over
			j.End(x)
			if text, _ := out.get(); strings.TrimSpace(text) != strconv.Itoa(longSize) || (x.Reason == job.Killed) != (lost != nil) {
				t.Errorf("the command has read %s bytes and ended by %s, want %d bytes", strings.TrimSpace(text), x.Reason, longSize)
			}
		})
	}
}
