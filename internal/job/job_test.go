//go:build linux

package job_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen, on a machine that may be busy.
const patience = 60 * time.Second

func newTable(t *testing.T) *job.Table {
	t.Helper()
	spawner, err := proc.NewSpawner()
	if err != nil {
		t.Fatal(err)
	}
	table := job.NewTable(spawner, job.Quotas{})
	t.Cleanup(func() {
		table.Wait()
		if err := spawner.Close(); err != nil {
			t.Error(err)
		}
	})
	return table
}

// start starts a shell script, and announces it.
func start(t *testing.T, table *job.Table, timeout time.Duration, script string) *job.Job {
	t.Helper()
	j := table.New(job.Label{Class: "us", Command: "sh"}, timeout, job.Linger)
	if err := j.Start(proc.Spec{Argv: []string{"sh", "-c", script}, Stdin: true, Stdout: true, Stderr: true}); err != nil {
		t.Fatal(err)
	}
	j.Announce()
	return j
}

// A sink collects what is written to it until it is closed.
type sink struct {
	mu     sync.Mutex
	text   bytes.Buffer
	wrote  chan struct{} // has a token for each write
	closed bool
}

func newSink() *sink { return &sink{wrote: make(chan struct{}, 1024)} }

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrote <- struct{}{}
	return s.text.Write(p)
}

func (s *sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func (s *sink) get() (text string, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String(), s.closed
}

func TestJobGivesItsWatcherAllBytesAndItsExit(t *testing.T) {
	table := newTable(t)
	stdout, stderr := newSink(), newSink()
	j := start(t, table, 0, "cat; echo error >&2; exit 7")
	exit := j.Follow(job.Streams{Stdin: strings.NewReader("input"), Stdout: stdout, Stderr: stderr})
	j.End(nil)
	if exit.Code != 7 || exit.Reason != job.Exited || exit.Err != nil || exit.Stdout != 5 || exit.Stderr != 6 || exit.Cut {
		t.Errorf("the exit is %+v", exit)
	}
	for _, s := range []struct {
		sink *sink
		want string
	}{{stdout, "input"}, {stderr, "error\n"}} {
		if text, closed := s.sink.get(); text != s.want || !closed {
			t.Errorf("output %q, closed %v, want %q, closed", text, closed, s.want)
		}
	}
}

func TestReasonsOfAnEnd(t *testing.T) {
	for _, c := range []struct {
		want    job.Reason
		timeout time.Duration
		script  string
		end     func(*job.Job)
	}{
		{want: job.Timeout, timeout: 2 * time.Second, script: "sleep 1000"},
		{want: job.Killed, script: "sleep 1000", end: func(j *job.Job) { j.Kill(0) }},
		{want: job.Signaled, script: "kill -9 $$"},
		{want: job.Shutdown, script: "sleep 1000", end: func(j *job.Job) {
			j.Terminate(job.Shutdown, 0)
			j.Terminate(job.Killed, 0) // the first reason counts
		}},
	} {
		t.Run(string(c.want), func(t *testing.T) {
			j := start(t, newTable(t), c.timeout, c.script)
			if c.end != nil {
				c.end(j)
			}
			exit := j.Follow(job.Streams{})
			j.End(nil)
			if exit.Reason != c.want {
				t.Errorf("the exit is %+v, want the reason %s", exit, c.want)
			}
		})
	}
}

func TestLeftJobRunsOnWithoutItsWatcher(t *testing.T) {
	table := newTable(t)
	stdout := newSink()
	j := start(t, table, 0, "echo first; read line; echo second")
	in, more := io.Pipe()
	ended := make(chan *job.Exit, 1)
	go func() { ended <- j.Follow(job.Streams{Stdin: readerOf{in}, Stdout: stdout}) }() // ends with the script
	<-stdout.wrote
	if s := table.List("us", false); len(s) != 1 || !s[0].Watched {
		t.Errorf("the list of a job that is watched: %+v", s)
	}
	j.Leave()
	if s := table.List("us", false); len(s) != 1 || s[0].Watched || s[0].PID != j.PID() {
		t.Errorf("the list of a job that has been left: %+v", s)
	}
	if _, err := more.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	_ = more.Close()
	exit := <-ended
	j.End(nil)
	if text, closed := stdout.get(); text != "first\n" || closed {
		t.Errorf("the watcher has got %q, closed %v, want only what came before it left", text, closed)
	}
	if exit.Code != 0 || exit.Stdout != 6 {
		t.Errorf("the exit is %+v, want 0 and 6 bytes", exit)
	}
}

// A readerOf reads as a stream does.
type readerOf struct{ io.Reader }

func (r readerOf) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, r.Reader) }

func TestJobThatIsEndedBeforeItsStartDoesNotStart(t *testing.T) {
	table := newTable(t)
	j := table.New(job.Label{}, 0, 0)
	j.Terminate(job.Shutdown, 0)
	told := make(chan *proc.Process, 1)
	j.WhenStarted(func(p *proc.Process) { told <- p })
	err := j.Start(proc.Spec{Argv: []string{"true"}})
	if e, ok := errors.AsType[*job.StartError](err); !ok || e.Reason != job.Shutdown {
		t.Errorf("start of a job that has been ended: %v", err)
	}
	if p := <-told; p != nil {
		t.Error("a refused job has a process")
	}
	if all := table.List("", false); len(all) != 0 {
		t.Errorf("a refused job is listed: %+v", all)
	}
}

func TestRequestsWaitForTheStartUpToALimit(t *testing.T) {
	table := newTable(t)
	j := table.New(job.Label{}, 0, 0)
	told := 0
	for !j.Crowded() {
		j.WhenStarted(func(*proc.Process) { told++ })
	}
	if told != 0 {
		t.Fatal("a request has been carried out before the start")
	}
	if err := j.Start(proc.Spec{Argv: []string{"true"}}); err != nil {
		t.Fatal(err)
	}
	j.Announce()
	if told != job.MaxWaiting {
		t.Errorf("%d requests have waited, want %d", told, job.MaxWaiting)
	}
	j.WhenStarted(func(*proc.Process) { told++ })
	if told != job.MaxWaiting+1 || j.Crowded() {
		t.Errorf("a request after the start has not been carried out at once")
	}
	j.Follow(job.Streams{})
	j.End(nil)
}

func TestTableFindsTheJobsOfAClass(t *testing.T) {
	table := newTable(t)
	j := start(t, table, 0, "sleep 1000")
	if found, err := table.Find(j.Handle(), "us"); found != j || err != nil {
		t.Errorf("the job by its handle: %v, %v", found, err)
	}
	for what, find := range map[string]func() (*job.Job, error){
		"another class":  func() (*job.Job, error) { return table.Find(j.Handle(), "others") },
		"another handle": func() (*job.Job, error) { return table.Find(job.Handle{}, "us") },
	} {
		if found, err := find(); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("%s finds %v, %v", what, found, err)
		}
	}
	if l := table.List("others", false); len(l) != 0 {
		t.Errorf("others see %+v", l)
	}
	table.Terminate(job.Shutdown, 0)
	if exit := j.Follow(job.Streams{}); exit.Reason != job.Shutdown {
		t.Errorf("the exit is %+v", exit)
	}
	j.End(nil)
	if _, err := table.Find(j.Handle(), "us"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("a job that has ended: %v", err)
	}
}

func TestOfManyKillsOneIsTheFirst(t *testing.T) {
	j := start(t, newTable(t), 0, "sleep 1000")
	var firsts int
	var mu sync.Mutex
	var kills sync.WaitGroup
	for range 8 {
		kills.Go(func() {
			first := j.Kill(0)
			mu.Lock()
			defer mu.Unlock()
			if first {
				firsts++
			}
		})
	}
	kills.Wait()
	j.Follow(job.Streams{})
	j.End(nil)
	if firsts != 1 {
		t.Errorf("%d of 8 kills were the first", firsts)
	}
}

// A watcher that takes nothing holds the job up until it leaves.
func TestLeaveFreesAJobWhoseWatcherFails(t *testing.T) {
	table := newTable(t)
	r, w := io.Pipe()
	j := start(t, table, 0, "head -c 1000000 /dev/zero")
	ended := make(chan *job.Exit, 1)
	go func() { ended <- j.Follow(job.Streams{Stdout: w}) }() // ends with the script
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	j.Leave()
	_ = r.Close() // as a connection's end does
	select {
	case exit := <-ended:
		if exit.Code != 0 || exit.Stdout >= 1_000_000 {
			t.Errorf("the exit is %+v, want 0 and some of the bytes", exit)
		}
	case <-time.After(patience):
		t.Fatal("the job does not end")
	}
	j.End(nil)
}
