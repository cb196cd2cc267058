package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// listen has a guest of this process be reached by a target.
func (f *fakeGuest) listen(t *testing.T) (target string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "guest") // a Unix socket's path is short, and T.TempDir's is long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	ln, err := net.Listen("unix", path)
	if err != nil && runtime.GOOS == "windows" {
		t.Skipf("Windows has no Unix sockets here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.ToSlash(path)
	if runtime.GOOS == "windows" {
		path = "/" + path
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		serving.Wait()
	})
	return "unix://" + path
}

const (
	aHandle     = "30313233343536373839616263646566"
	otherHandle = "66656463626139383736353433323130"
	thirdHandle = "74686972647468697264746869726474"
	endedHandle = "656e646564656e646564656e64656465"
)

// keeper is a guest that lists two commands, and kills the first of them.
func keeper(asked *[]wire.Kill) *fakeGuest {
	return &fakeGuest{
		hello: wire.Hello{Features: []string{wire.FeatureExecs}},
		answers: func(m wire.Message) []wire.Message {
			_, id := wire.About(m)
			head := wire.Head{ID: id}
			switch m := m.(type) {
			case *wire.Execs:
				return []wire.Message{&wire.Done{Head: head, Execs: &wire.ExecList{More: 5, Running: []wire.ExecState{
					{Handle: []byte("0123456789abcdef"), PID: 7, Command: "sleep \x1b[2J\u202e1", User: "nobody", Keep: true, RunningMS: 90_061_500},
					{Handle: []byte("fedcba9876543210"), PID: 4194304, Command: "cat", TTY: true, Connected: true, RunningMS: 1500},
					{Handle: []byte("thirdthirdthirdt"), PID: 8, Command: "top", Keep: true, RunningMS: 1000, Detached: true, Input: true, StdoutBytes: 7, StdoutOldest: 3},
				}, Ended: []wire.ExecState{{
					Handle: []byte("endedendedendede"), PID: 9, Command: "make", Keep: true, RunningMS: 2, StdoutBytes: 10, StderrBytes: 20,
					Exited: &wire.ExecEnd{Code: -1, Signal: "KILL", SignalNumber: 9, Reason: wire.ReasonKilled},
				}}}}}
			case *wire.Kill:
				*asked = append(*asked, *m)
				if string(m.Handle) == "0123456789abcdef" {
					return []wire.Message{&wire.Done{Head: head}}
				}
				return []wire.Message{&wire.Error{Head: head, Kind: wire.NotFound, Message: "no such\x1b exec"}}
			default:
				return nil
			}
		},
	}
}

func ran(args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = run(args, &out, &errs)
	return status, out.String(), errs.String()
}

func TestExecsPrintsATable(t *testing.T) {
	status, out, errs := ran("execs", "--target", keeper(nil).listen(t))
	const want = "" +
		"HANDLE                            PID      USER    STATE     AGE      BYTES  EXIT  COMMAND\n" +
		endedHandle + "  9        -       ended     2ms      30     137   make\n" +
		aHandle + "  7        nobody  left      25h1m1s  -      -     sleep \ufffd[2J\ufffd1\n" +
		otherHandle + "  4194304  -       running   1.5s     -      -     cat\n" +
		thirdHandle + "  8        -       detached  1s       7      -     top\n" +
		"and 5 more\n"
	if status != 0 || out != want || errs != "" {
		t.Errorf("execs: status %d, stderr %q, stdout\n%s, want\n%s", status, errs, out, want)
	}
}

func TestExecsPrintsJSON(t *testing.T) {
	status, out, errs := ran("execs", "--json", "--target", keeper(nil).listen(t))
	const want = `{"execs":[` +
		`{"handle":"` + aHandle + `","pid":7,"command":"sleep ` + "\ufffd[2J\ufffd" + `1","user":"nobody","tty":false,"keep":true,"connected":false,"running_seconds":90061.5,"detached":false,"input":false,"stdout_oldest":0,"stdout_bytes":0,"stderr_oldest":0,"stderr_bytes":0},` +
		`{"handle":"` + otherHandle + `","pid":4194304,"command":"cat","user":"","tty":true,"keep":false,"connected":true,"running_seconds":1.5,"detached":false,"input":false,"stdout_oldest":0,"stdout_bytes":0,"stderr_oldest":0,"stderr_bytes":0},` +
		`{"handle":"` + thirdHandle + `","pid":8,"command":"top","user":"","tty":false,"keep":true,"connected":false,"running_seconds":1,"detached":true,"input":true,"stdout_oldest":3,"stdout_bytes":7,"stderr_oldest":0,"stderr_bytes":0}` +
		`],"more":5,"ended":[` +
		`{"handle":"` + endedHandle + `","pid":9,"command":"make","user":"","tty":false,"keep":true,"connected":false,"running_seconds":0.002,"detached":false,"input":false,"stdout_oldest":0,"stdout_bytes":10,"stderr_oldest":0,"stderr_bytes":20,"end":"signal KILL (ended by the host)","exit_status":137}` +
		`]}` + "\n"
	if status != 0 || out != want || errs != "" {
		t.Errorf("execs --json: status %d, stderr %q, stdout\n%s, want\n%s", status, errs, out, want)
	}
}

func TestExecsOfNoneIsAnEmptyList(t *testing.T) {
	f := &fakeGuest{hello: wire.Hello{Features: []string{wire.FeatureExecs}}, answers: func(m wire.Message) []wire.Message {
		_, id := wire.About(m)
		return []wire.Message{&wire.Done{Head: wire.Head{ID: id}, Execs: &wire.ExecList{}}}
	}}
	if status, out, _ := ran("execs", "--json", "--target", f.listen(t)); status != 0 || out != `{"execs":[],"more":0,"ended":[]}`+"\n" {
		t.Errorf("execs --json: status %d, %q", status, out)
	}
}

func TestExecsOfAnAgentThatIsTooOldFails(t *testing.T) {
	f := &fakeGuest{hello: wire.Hello{Version: "0.9"}, answers: func(wire.Message) []wire.Message { return nil }}
	target := f.listen(t)
	for _, args := range [][]string{{"execs"}, {"kill", aHandle}} {
		status, out, errs := ran(append(args, "--target", target)...)
		if status != 1 || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, `the agent, version "0.9", does not have `) {
			t.Errorf("%v: status %d, stdout %q, stderr %q", args, status, out, errs)
		}
	}
}

func TestKillSaysWhichItHasNotKilled(t *testing.T) {
	var asked []wire.Kill
	target := keeper(&asked).listen(t)
	status, out, errs := ran("kill", "--target", target, "--force", otherHandle, strings.ToUpper(aHandle))
	want := "cocoon-agent: " + target + ": " + otherHandle + ": no such\ufffd exec\n"
	if status != 1 || out != "" || errs != want {
		t.Errorf("kill: status %d, stdout %q, stderr %q; want 1 and %q", status, out, errs, want)
	}
	if len(asked) != 2 || !asked[0].Force || !asked[1].Force || string(asked[1].Handle) != "0123456789abcdef" {
		t.Errorf("the guest was asked for %+v, want two kills by force", asked)
	}
	if status, out, errs := ran("kill", "--target", target, aHandle); status != 0 || out != "" || errs != "" || asked[2].Force {
		t.Errorf("kill: status %d, stdout %q, stderr %q; want success", status, out, errs)
	}
}

func TestKillTakesHandlesAlone(t *testing.T) {
	for _, handle := range []string{"", "7", "xyz", aHandle + "00", aHandle[2:], "-1"} {
		status, _, errs := ran("kill", "--cid", "3", "--", handle)
		if want := `32 hexadecimal digits`; status != 2 || !strings.Contains(errs, want) {
			t.Errorf("kill %q: status %d, %q; want 2 and %q", handle, status, errs, want)
		}
	}
	if status, _, errs := ran("kill", "--cid", "3"); status != 2 || !strings.Contains(errs, "handle") {
		t.Errorf("kill: status %d, %q; want 2", status, errs)
	}
}
