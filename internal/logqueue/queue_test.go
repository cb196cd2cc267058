//go:build linux

package logqueue_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/logqueue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is longer than anything here takes that is not stuck.
const patience = 30 * time.Second

// newQueue returns a queue to file, which the end of the test closes.
func newQueue(t *testing.T, file *os.File) (*logqueue.Queue, chan uint64) {
	t.Helper()
	lost := make(chan uint64, 16)
	q := logqueue.New(file, func(n uint64) { lost <- n })
	t.Cleanup(func() { _ = q.Close(patience) })
	return q, lost
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r, blocking(t, w)
}

// blocking makes file what a program gets as its standard error: os.Pipe's do
// not block.
func blocking(t *testing.T, file *os.File) *os.File {
	t.Helper()
	defer file.Close()
	fd, err := unix.Dup(int(file.Fd())) // Fd makes it block
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "log")
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func socketPair(t *testing.T) (r, w *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(fds[0]), "reader"), os.NewFile(uintptr(fds[1]), "log")
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	return r, w
}

func line(i int) string { return fmt.Sprintf("record %d %s\n", i, strings.Repeat("x", 100)) }

func lines(from, to int) string {
	var all strings.Builder
	for i := from; i < to; i++ {
		all.WriteString(line(i))
	}
	return all.String()
}

func writeLines(w io.Writer, from, to int) {
	for i := from; i < to; i++ {
		_, _ = io.WriteString(w, line(i))
	}
}

func wantRead(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %d bytes that begin with %.40q, %v, want %.40q", len(got), got, err, want)
	}
}

func TestWriteIsDoneWhenItReturns(t *testing.T) {
	for name, open := range map[string]func(*testing.T) (r, w *os.File){"pipe": pipe, "socket": socketPair} {
		t.Run(name, func(t *testing.T) {
			r, w := open(t)
			q, _ := newQueue(t, w)
			writeLines(q.Writer(logqueue.Audit), 0, 1)
			var fds [1]unix.PollFd
			fds[0] = unix.PollFd{Fd: int32(r.Fd()), Events: unix.POLLIN}
			if n, err := unix.Poll(fds[:], 0); n != 1 || err != nil {
				t.Fatalf("nothing to read right after Write: poll = %d, %v", n, err)
			}
			wantRead(t, r, line(0))
		})
	}
}

func TestSyncWaitsUntilAFileIsWritten(t *testing.T) {
	path := t.TempDir() + "/log"
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	q, _ := newQueue(t, file)
	writeLines(q.Writer(logqueue.Audit), 0, 100)
	writeLines(q.Writer(logqueue.General), 100, 200)
	if err := q.Sync(patience); err != nil {
		t.Fatalf("Sync = %v, want nil", err)
	}
	if got, err := os.ReadFile(path); string(got) != lines(0, 200) {
		t.Errorf("the file has %d bytes, %v, want %d in order", len(got), err, len(lines(0, 200)))
	}
}

// A reader that takes nothing holds up no writer, loses nothing for which there
// is room, and gets it all in order when it reads again.
func TestWriteNeverWaitsForTheReader(t *testing.T) {
	for name, open := range map[string]func(*testing.T) (r, w *os.File){"pipe": pipe, "socket": socketPair} {
		t.Run(name, func(t *testing.T) {
			r, w := open(t)
			q, lost := newQueue(t, w)
			writeLines(q.Writer(logqueue.Audit), 0, 8000) // 0.9 MiB: more than pipe and socket hold
			if err := q.Sync(time.Millisecond); !errors.Is(err, logqueue.ErrStuck) {
				t.Errorf("Sync of a log that nobody reads = %v, want ErrStuck", err)
			}
			wantRead(t, r, lines(0, 8000))
			if err := q.Sync(patience); err != nil || len(lost) > 0 {
				t.Errorf("Sync of a log that has been read = %v, %d reports of losses, want neither", err, len(lost))
			}
		})
	}
}

func TestLossesAreCountedByClassAndReported(t *testing.T) {
	r, w := pipe(t)
	q, lost := newQueue(t, w)
	writeLines(q.Writer(logqueue.General), 0, 20000) // 2.2 MiB
	writeLines(q.Writer(logqueue.Audit), 20000, 20100)
	if err := q.Sync(time.Millisecond); err == nil {
		t.Error("Sync of a log that has lost records = nil, want an error")
	}
	read := make(chan string)
	go func() { // ends when the pipe is closed
		var all strings.Builder
		_, _ = io.Copy(&all, r)
		read <- all.String()
	}()
	n := <-lost
	if err := q.Close(patience); err != nil {
		t.Errorf("Close = %v, want nil", err)
	}
	_ = w.Close()
	got := <-read
	if want := uint64(20100 - strings.Count(got, "\n")); n != want || n == 0 {
		t.Errorf("reported as lost: %d, want %d, which were not written", n, want)
	}
	if !strings.HasSuffix(got, lines(20000, 20100)) {
		t.Error("audit records are missing, though only general ones were too many")
	}
}

// Once the reader has proved stuck, Sync does not wait for it again.
func TestSyncWaitsForAStuckReaderOnce(t *testing.T) {
	_, w := pipe(t)
	q := logqueue.New(w, nil)
	writeLines(q.Writer(logqueue.Audit), 0, 2000)
	const once = 100 * time.Millisecond
	begun := time.Now()
	for range 1000 {
		if err := q.Sync(once); !errors.Is(err, logqueue.ErrStuck) {
			t.Fatalf("Sync = %v, want ErrStuck", err)
		}
	}
	if took := time.Since(begun); took > 500*once {
		t.Errorf("1000 calls of Sync took %v, want little more than the first one's %v", took, once)
	}
	if err := q.Close(0); !errors.Is(err, logqueue.ErrStuck) {
		t.Errorf("Close of a stuck log = %v, want ErrStuck", err)
	}
}

// settle returns what Settle does, or calls its function with.
func settle(q *logqueue.Queue, patience time.Duration) error {
	answer := make(chan error, 1)
	go func() { // ends with the write
		if settled, err := q.Settle(patience, func(err error) { answer <- err }); settled {
			answer <- err
		}
	}()
	return <-answer
}

func TestSettleWritesAFileItself(t *testing.T) {
	path := t.TempDir() + "/log"
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	q, _ := newQueue(t, file)
	for i := range 100 {
		writeLines(q.Writer(logqueue.Audit), i, i+1)
		settled, err := q.Settle(patience, func(error) { t.Error("Settle of a file that can be written calls late") })
		if got, _ := os.ReadFile(path); !settled || err != nil || string(got) != lines(0, i+1) {
			t.Fatalf("Settle = %t, %v when the file has %d bytes, want true, nil and %d", settled, err, len(got), len(lines(0, i+1)))
		}
	}
}

// newIndirect returns a queue to a pipe, which can hang, that treats the pipe as a
// regular file.
func newIndirect(t *testing.T) (q *logqueue.Queue, r, w *os.File) {
	t.Helper()
	r, w = pipe(t)
	q = logqueue.NewIndirect(w)
	t.Cleanup(func() { _ = q.Close(patience) })
	return q, r, w
}

func TestSettleGoesOnWithoutAWriteThatHangs(t *testing.T) {
	q, r, _ := newIndirect(t)
	writeLines(q.Writer(logqueue.Audit), 0, 2000) // more than the pipe holds
	if err := settle(q, time.Millisecond); !errors.Is(err, logqueue.ErrStuck) {
		t.Errorf("Settle with a write that hangs calls with %v, want ErrStuck", err)
	}
	if err := settle(q, time.Millisecond); !errors.Is(err, logqueue.ErrStuck) {
		t.Errorf("Settle beside a write that hangs calls with %v, want ErrStuck", err)
	}
	wantRead(t, r, lines(0, 2000))
	if err := settle(q, patience); err != nil {
		t.Errorf("Settle of a log that has been read calls with %v, want nil", err)
	}
}

func TestSettleBetweenWritesIsNotStuck(t *testing.T) {
	q, _, _ := newIndirect(t)
	q.TickBetweenWrites(func(err error) { t.Errorf("a tick between two writes calls late with %v, want no call", err) })
}

func TestSettleFromManyGoroutinesLosesNothing(t *testing.T) {
	q, r, w := newIndirect(t)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for i := range 20 {
				writeLines(q.Writer(logqueue.Audit), i, i+1)
				if err := settle(q, patience); err != nil {
					t.Errorf("Settle calls with %v, want nil", err)
				}
			}
		})
	}
	read := make(chan int)
	go func() { // ends when the pipe is closed
		text, _ := io.ReadAll(r)
		read <- strings.Count(string(text), "\n")
	}()
	all.Wait()
	_ = q.Close(patience)
	_ = w.Close()
	if got := <-read; got != 1000 {
		t.Errorf("%d records were written, want 1000", got)
	}
}

func TestWriteErrorIsSyncsUntilOneSucceeds(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full: ", err)
	}
	defer full.Close()
	q, _ := newQueue(t, full)
	writeLines(q.Writer(logqueue.Audit), 0, 1)
	if err := q.Sync(patience); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Sync after a failed write = %v, want ENOSPC", err)
	}

	r, w := pipe(t)
	q, lost := newQueue(t, w)
	_ = r.Close()
	writeLines(q.Writer(logqueue.Audit), 0, 1)
	if err := q.Sync(patience); !errors.Is(err, unix.EPIPE) {
		t.Errorf("Sync after the reader has gone = %v, want EPIPE", err)
	}
	if len(lost) > 0 {
		t.Error("a loss was reported to a log that nobody reads")
	}
}

// The description of standard error may be a shell's, too.
func TestFileIsNotMadeNonBlocking(t *testing.T) {
	_, w := pipe(t)
	q, _ := newQueue(t, w)
	writeLines(q.Writer(logqueue.Audit), 0, 1)
	raw, err := w.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
			t.Errorf("flags of the log's file = %#o, %v, want no O_NONBLOCK", flags, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

func TestCloseDropsLaterRecords(t *testing.T) {
	r, w := pipe(t)
	q := logqueue.New(w, nil)
	writeLines(q.Writer(logqueue.Audit), 0, 1)
	if err := q.Close(patience); err != nil {
		t.Errorf("Close = %v, want nil", err)
	}
	writeLines(q.Writer(logqueue.Audit), 1, 2)
	_ = w.Close()
	if got, err := io.ReadAll(r); string(got) != line(0) {
		t.Errorf("written: %q, %v, want the record before Close", got, err)
	}
}

// A record that a full disk has cut does not spoil the next one's line.
func TestRecordAfterACutOneHasALineOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("no file system to fill: ", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	if err := os.WriteFile(dir+"/other", make([]byte, 56<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(dir+"/log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	q, _ := newQueue(t, file)
	lost := q.Lost()
	for i := range 200 { // 22 KiB
		writeLines(q.Writer(logqueue.Audit), i, i+1)
		if err = settle(q, patience); err != nil {
			break
		}
	}
	if !errors.Is(err, unix.ENOSPC) || q.Lost() == lost {
		t.Fatalf("Settle on a full disk calls with %v, %d lost, want ENOSPC and some", err, q.Lost()-lost)
	}
	if err := os.Remove(dir + "/other"); err != nil {
		t.Fatal(err)
	}
	writeLines(q.Writer(logqueue.Audit), 1000, 1001)
	// The loss is reported by another goroutine, after the record that could be written.
	for deadline := time.Now().Add(patience); q.Sync(patience) != nil; time.Sleep(time.Millisecond) { //nolint:forbidigo // the poll's interval
		if time.Now().After(deadline) {
			t.Fatalf("Sync once there is room = %v, want nil", q.Sync(patience))
		}
	}
	text, err := os.ReadFile(dir + "/log")
	if err != nil || !strings.Contains(string(text), "\n"+line(1000)) {
		t.Errorf("the log ends with %.200q, %v, want a line with the last record", text[max(0, len(text)-200):], err)
	}
}
