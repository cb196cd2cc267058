//go:build linux

package job_test

import (
	"encoding/json"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// bytesOf is a Getter that has all that is asked for.
type bytesOf byte

func (b bytesOf) Get(_ int64, p []byte) error {
	for i := range p {
		p[i] = byte(b)
	}
	return nil
}

// endedJob is a saved job that has ended, of a terminal.
const endedJob = `{"Ended":[{"Class":"us","Command":"sh","TTY":true,"Handle":"AAECAwQFBgcICQoLDA0ODw==","PID":7,
	"Kept":{"Detach":true,"Key":"aw==","Request":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","Claimed":true,
	"Stdout":{"Limit":8192,"Held":8192,"Oldest":10,"Newest":5010,"Ended":true,"Bytes":{"At":0,"Len":5000},"Screen":{"Modes":{"25":false},"Alternate":true}},
	"Stderr":{"Limit":4096,"Ended":true},"Exit":{"Code":3,"Reason":"exit"}}}]}`

// A state that passes Check can be restored, and asked for.
func FuzzSaved(f *testing.F) {
	f.Add([]byte(endedJob))
	f.Fuzz(func(t *testing.T, text []byte) {
		var s job.Saved
		if json.Unmarshal(text, &s) != nil || s.Check() != nil || len(s.Jobs) > 0 {
			return
		}
		spawner, err := proc.NewSpawner()
		if err != nil {
			t.Fatal(err)
		}
		defer spawner.Close()
		table := job.NewTable(spawner, job.Quotas{})
		table.Restore(&s, bytesOf('x'), func(job.Label, int, error) {})
		for _, saved := range s.Ended {
			j, err := table.FindKept(job.Handle(saved.Handle), saved.Class)
			if err != nil {
				continue // another one has the handle, or pushed it out
			}
			if w, err := j.Watch(job.From{Oldest: true, Redraw: job.RedrawReplay}, true, false); err == nil {
				if _, err := w.Wait(job.Streams{Stdout: discarded{}}); err != nil {
					t.Errorf("Wait: %v", err)
				}
				w.Leave()
			}
			j.State()
			_ = table.Release(job.Handle(saved.Handle), saved.Class)
		}
	})
}

type discarded struct{}

func (discarded) Write(p []byte) (int, error) { return len(p), nil }
func (discarded) Close() error                { return nil }

func TestRestoredRecordIsAsBefore(t *testing.T) {
	var s job.Saved
	if err := json.Unmarshal([]byte(endedJob), &s); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	spawner, err := proc.NewSpawner()
	if err != nil {
		t.Fatal(err)
	}
	defer spawner.Close()
	table := job.NewTable(spawner, job.Quotas{})
	table.Restore(&s, bytesOf('x'), func(_ job.Label, _ int, err error) { t.Error(err) })
	list := table.List("us", true)
	if len(list) != 1 || list[0].Exit == nil || list[0].Exit.Code != 3 || list[0].Oldest.Stdout != 10 || list[0].Newest.Stdout != 5010 {
		t.Fatalf("List = %+v, want one record of exit status 3", list)
	}
	if c := table.Counts(); c.Kept != 1 || c.Rings != 8192 {
		t.Errorf("Counts = %+v, want one record with 8192 bytes", c)
	}
	again := table.New(job.Label{Class: "us"}, 0, 0)
	if err := again.Keep(job.Keeping{Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
	if known, err := again.Claim(); err != nil || known == nil || known.PID() != 7 {
		t.Errorf("Claim = %v, %v, want the job with the pid 7", known, err)
	}
	again.Withdraw()
}

func TestCheckOfSavedJobs(t *testing.T) {
	for what, text := range map[string]string{
		"handle":          `{"Ended":[{"Handle":"AAE=","PID":7,"Kept":{"Exit":{}}}]}`,
		"pid":             `{"Ended":[{"Handle":"AAECAwQFBgcICQoLDA0ODw==","PID":1,"Kept":{"Exit":{}}}]}`,
		"record":          `{"Ended":[{"Handle":"AAECAwQFBgcICQoLDA0ODw==","PID":7}]}`,
		"process":         `{"Jobs":[{"Handle":"AAECAwQFBgcICQoLDA0ODw==","PID":7}]}`,
		"rings":           `{"Ended":[{"Handle":"AAECAwQFBgcICQoLDA0ODw==","PID":7,"Kept":{"Detach":true,"Exit":{}}}]}`,
		"end of output":   `{"Ended":[{"Handle":"AAECAwQFBgcICQoLDA0ODw==","PID":7,"Kept":{"Detach":true,"Exit":{},"Stdout":{"Limit":4096},"Stderr":{"Limit":4096,"Ended":true}}}]}`,
		"screen":          `{"Ended":[{"TTY":true,"Handle":"AAECAwQFBgcICQoLDA0ODw==","PID":7,"Kept":{"Detach":true,"Exit":{},"Stdout":{"Limit":4096,"Ended":true},"Stderr":{"Limit":4096,"Ended":true}}}]}`,
		"backward ring":   `{"Ended":[{"Handle":"AAECAwQFBgcICQoLDA0ODw==","PID":7,"Kept":{"Detach":true,"Exit":{},"Stdout":{"Limit":4096,"Oldest":9,"Ended":true},"Stderr":{"Limit":4096,"Ended":true}}}]}`,
		"length":          `{"Ended":[{"Handle":"AAECAwQFBgcICQoLDA0ODw==","PID":7,"Kept":{"Detach":true,"Exit":{},"Stdout":{"Limit":4096,"Held":4096,"Newest":9,"Ended":true},"Stderr":{"Limit":4096,"Ended":true}}}]}`,
		"too little held": `{"Ended":[{"Handle":"AAECAwQFBgcICQoLDA0ODw==","PID":7,"Kept":{"Detach":true,"Exit":{},"Stdout":{"Limit":4096,"Newest":9,"Bytes":{"Len":9},"Ended":true},"Stderr":{"Limit":4096,"Ended":true}}}]}`,
	} {
		var s job.Saved
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if s.Check() == nil {
			t.Errorf("Check accepts a wrong %s", what)
		}
	}
}
