//go:build linux

package main

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client/agenttest"
)

// results runs jobs, and returns the results by their commands.
func results(t *testing.T, timeout time.Duration, jobs ...string) map[string]Result {
	t.Helper()
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() { // ends with the jobs
		err := run(t.Context(), 2, timeout, strings.NewReader(strings.Join(jobs, "\n")), w)
		_ = w.Close()
		ended <- err
	}()
	all := map[string]Result{}
	for in := json.NewDecoder(r); ; {
		var one Result
		if err := in.Decode(&one); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all[one.Command] = one
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(all) != len(jobs) {
		t.Errorf("%d results, want %d", len(all), len(jobs))
	}
	return all
}

func TestJobs(t *testing.T) {
	vm := agenttest.New(t)
	got := results(t, 30*time.Second,
		vm.Target+" echo hello", vm.Target+" echo bad; exit 7", vm.Target+" kill -KILL $$", "unix:///no/such true")
	for command, want := range map[string]Result{
		"echo hello":       {Outcome: Done, Status: 0, Output: "hello\n"},
		"echo bad; exit 7": {Outcome: Failed, Status: 7, Output: "bad\n"},
		"kill -KILL $$":    {Outcome: Failed, Status: 137},
		"true":             {Outcome: NotRun, Status: -1},
	} {
		if r := got[command]; r.Outcome != want.Outcome || r.Status != want.Status || r.Output != want.Output {
			t.Errorf("%s: %+v, want %+v", command, r, want)
		}
	}
	if n := vm.Connections(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestJobThatTakesTooLong(t *testing.T) {
	vm := agenttest.New(t)
	if r := results(t, 100*time.Millisecond, vm.Target+" sleep 1000")["sleep 1000"]; r.Outcome != TimedOut {
		t.Errorf("%+v, want %s", r, TimedOut)
	}
}

// Its connection breaks: it may have run.
func TestJobWhoseConnectionBreaks(t *testing.T) {
	vm := agenttest.New(t)
	vm.CutAfter(2000) // after the greeting and the start, within the output
	if r := results(t, time.Minute, vm.Target+" head -c 100000 /dev/zero")["head -c 100000 /dev/zero"]; r.Outcome != Unknown {
		t.Errorf("%+v, want %s", r.Outcome, Unknown)
	}
}
