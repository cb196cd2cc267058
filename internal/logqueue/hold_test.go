//go:build linux

package logqueue_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/logqueue"
)

// Nothing is written to a file that may be frozen, and nobody waits for it.
func TestHeldQueueWritesNothing(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	q, _ := newQueue(t, file)
	log := q.Writer(logqueue.Audit)
	wantFile := func(want string) {
		t.Helper()
		if got, err := os.ReadFile(file.Name()); string(got) != want || err != nil {
			t.Errorf("the log has %q, %v, want %q", got, err, want)
		}
	}
	writeLines(log, 0, 2)
	q.Hold(patience)
	wantFile(lines(0, 2))
	writeLines(log, 2, 4)
	if err := q.Sync(patience); err != nil {
		t.Errorf("Sync = %v", err)
	}
	if err := settle(q, patience); err != nil {
		t.Errorf("Settle = %v", err)
	}
	wantFile(lines(0, 2))
	q.Release()
	if err := q.Sync(patience); err != nil {
		t.Errorf("Sync = %v", err)
	}
	wantFile(lines(0, 4))
}

func TestHeldQueueWritesNothingToAPipe(t *testing.T) {
	r, w := pipe(t)
	q, _ := newQueue(t, w)
	log := q.Writer(logqueue.Audit)
	q.Hold(patience)
	writeLines(log, 0, 2)
	if _, err := w.WriteString("not the queue's\n"); err != nil {
		t.Fatal(err)
	}
	q.Release()
	wantRead(t, r, "not the queue's\n"+lines(0, 2))
}
