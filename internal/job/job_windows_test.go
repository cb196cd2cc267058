package job_test

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A closer is a strings.Builder that can be closed.
type closer struct{ strings.Builder }

func (*closer) Close() error { return nil }

// follow runs a line of cmd.exe to its end.
func follow(t *testing.T, timeout time.Duration, line string, end func(*job.Job)) (*job.Exit, string) {
	t.Helper()
	spawner, err := proc.NewSpawner()
	if err != nil {
		t.Fatal(err)
	}
	defer spawner.Close()
	table := job.NewTable(spawner, job.Quotas{})
	defer table.Wait()
	j := table.New(job.Label{Class: "us", Command: "cmd"}, timeout, job.Linger)
	if err := j.Start(proc.Spec{Argv: []string{"cmd", "/c", line}, Verbatim: true, Stdout: true}); err != nil {
		t.Fatal(err)
	}
	j.Announce()
	end(j)
	out := &closer{}
	x := j.Follow(job.Streams{Stdout: out})
	j.End(nil)
	return x, out.String()
}

func TestJobEndsWithItsOutputAndItsCode(t *testing.T) {
	x, out := follow(t, 0, "echo text& exit 259", func(*job.Job) {})
	if x.Status != 259 || x.Reason != job.Exited || strings.TrimSpace(out) != "text" || x.Stdout != uint64(len(out)) {
		t.Errorf("exit 259: %+v, output %q; want status 259, reason %q and %q", x, out, job.Exited, "text")
	}
}

func TestJobThatIsEndedHasTheReason(t *testing.T) {
	const forever = "for /l %i in (0,0,1) do @rem"
	x, _ := follow(t, 50*time.Millisecond, forever, func(*job.Job) {})
	if x.Reason != job.Timeout || x.Status == 0 {
		t.Errorf("after the timeout: %+v, want reason %q and a status other than 0", x, job.Timeout)
	}
	x, _ = follow(t, 0, forever, func(j *job.Job) { j.Kill(0) })
	if x.Reason != job.Killed || x.Status != 137 {
		t.Errorf("after Kill: %+v, want reason %q and status 137", x, job.Killed)
	}
}
