//go:build linux

package v1_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/loadtest"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/v1"
)

// answers reads what the agent says, to the last frame.
func answers(tb testing.TB, r io.Reader) talk {
	tb.Helper()
	var t talk
	lines := v1.NewReader(r, 4096, v1.MaxLine, nil)
	for {
		f, err := lines.Next()
		if err != nil {
			tb.Errorf("after %+v: %v", t.frames, err)
			return t
		}
		t.add(f)
		if f.Type == v1.TypeExit || f.Type == v1.TypeError {
			return t
		}
	}
}

// request is the lines of a command that gets input, and then its end.
func request(input string, argv ...string) string {
	return exec(argv...) + stdin(input) + `{"type":"stdin_close"}` + "\n"
}

func exec(argv ...string) string {
	return string(v1.Encode(&v1.Frame{Type: v1.TypeExec, Argv: argv}))
}

func stdin(data string) string {
	return string(v1.Encode(&v1.Frame{Type: v1.TypeStdin, Data: []byte(data)}))
}

func say(tb testing.TB, nc net.Conn, what string) {
	tb.Helper()
	if _, err := io.WriteString(nc, what); err != nil {
		tb.Error(err)
	}
}

// allEnded waits until each command that the agent has started has ended.
func allEnded(tb testing.TB, a *agenttest.Agent) {
	tb.Helper()
	agenttest.Eventually(tb, "the end of each command", func() bool {
		log := a.Log.String()
		return strings.Count(log, `"exec started"`) == strings.Count(log, `"exec ended"`)
	})
}

func TestTranscriptsPlayedToTheAgent(t *testing.T) {
	// A reseed would make this machine another one: e2e/reseed does it to a guest.
	a := agenttest.StartWith(t, func(c *session.Config) { c.Policy.Denied = []string{"reseed"} })
	for _, tr := range readTranscripts(t) {
		if tr.reseeds() && tr.name != "reseed-refused" {
			continue
		}
		said := strings.Join(tr.host, "")
		for name, pieces := range map[string][]string{"whole": {said}, "lines": tr.host, "bytes": strings.Split(said, "")} {
			t.Run(tr.name+"/"+name, func(t *testing.T) {
				nc := a.Dial(t)
				var saying sync.WaitGroup
				saying.Go(func() {
					for _, piece := range pieces {
						if _, err := io.WriteString(nc, piece); err != nil {
							t.Error(err)
						}
					}
				})
				got, want := answers(t, nc), heard(t, tr.agent)
				if !got.same(want) {
					t.Errorf("the agent says %+v\nwant %+v", got, want)
				}
				saying.Wait()
				_ = nc.Close()
			})
		}
	}
	if log := a.Log.String(); strings.Count(log, `"protocol":1`) < 2*strings.Count(log, `"exec started"`) {
		t.Errorf("records without the protocol: %s", log)
	}
}

func TestHostThatHangsUpAnywhereLeavesNothing(t *testing.T) {
	a := agenttest.Start(t)
	said := request("some input", "sh", "-c", "cat; exec sleep 1000")
	for n := range len(said) {
		nc := a.Dial(t)
		say(t, nc, said[:n])
		_ = nc.Close()
	}
	const answer = len(`{"type":"started","pid":12345}` + "\n" + `{"type":"stdout","data":"c29tZSBpbnB1dA=="}` + "\n")
	for n := range answer - 2 { // pids may be shorter
		nc := a.Dial(t)
		say(t, nc, said)
		if _, err := io.ReadFull(nc, make([]byte, n)); err != nil {
			t.Errorf("byte %d: %v", n, err)
		}
		_ = nc.Close()
	}
	allEnded(t, a)
}

func TestProtocolViolationIsReportedOnce(t *testing.T) {
	a := agenttest.Start(t)
	running := exec("sleep", "1000")
	for name, tc := range map[string]struct{ says, want string }{
		"argv is no list":       {`{"type":"exec","argv":"true"}` + "\n", "malformed frame: argv is a JSON string"},
		"env is no map":         {`{"type":"exec","argv":["true"],"env":["A=b"]}` + "\n", "malformed frame: env is a JSON array"},
		"no argv":               {`{"type":"exec"}` + "\n", "no command"},
		"NUL in argv":           {`{"type":"exec","argv":["a\u0000b"]}` + "\n", "NUL"},
		"no base64":             {running + `{"type":"stdin","data":"!"}` + "\n", "malformed frame: illegal base64"},
		"no JSON":               {running + "hello\n", "malformed frame: invalid character 'h'"},
		"an empty line":         {running + "\n", "malformed frame"},
		"no type":               {running + "{}\n", "malformed frame: no type"},
		"a second exec":         {running + exec("true"), "exec: only one request per connection"},
		"a reseed behind":       {running + `{"type":"reseed","data":"AAAA"}` + "\n", "reseed: only one request per connection"},
		"a line without end":    {running + `{"type":"stdin","data":"` + strings.Repeat("A", v1.MaxLine+1<<16), "line is longer than 8388608 bytes"},
		"a long line of naught": {running + strings.Repeat("A", 1<<20), "line is not a JSON object"},
		"too many values":       {running + `{"type":"x","argv":[` + strings.Repeat(`"",`, 1<<18) + `""]}` + "\n", "more than 262144 values"},
		"stdin comes first":     {stdin("x"), `unknown protocol "stdin"`},
		"a long first line":     {`{"type":"` + strings.Repeat("x", 5000) + `"}` + "\n", "first line is longer than 4096 bytes"},
		"more than a request":   {`{"type":"exec","argv":["true","` + strings.Repeat("x", 5<<20) + `"]}` + "\n", "message is longer than 4194304 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			nc := a.Dial(t)
			go func() { _, _ = io.WriteString(nc, tc.says) }() // ends with nc
			got := answers(t, nc)
			last := got.frames[len(got.frames)-1]
			if last.Type != v1.TypeError || !strings.Contains(last.Message, tc.want) {
				t.Errorf("%+v, want an error with %q", last, tc.want)
			}
			_ = nc.Close()
		})
	}
	allEnded(t, a)
}

func TestHostMaySayMoreThanItShould(t *testing.T) {
	a := agenttest.Start(t)
	for name, says := range map[string]string{
		"stdin after its end": request("a", "cat") + stdin("b") + stdin("c"),
		"two ends of stdin":   request("a", "cat") + `{"type":"stdin_close"}` + "\n",
		"CRLF":                strings.ReplaceAll(request("a", "cat"), "\n", "\r\n"),
		"other cases":         strings.ReplaceAll(request("a", "cat"), `"type"`, `"Type"`), // encoding/json's quirk
		"data of numbers":     exec("cat") + `{"type":"stdin","data":[97]}` + "\n" + `{"type":"stdin_close"}` + "\n",
		"a first line beyond a preface": `{"type":"exec","argv":["cat"],"env":{"A":"` + strings.Repeat("x", 100_000) + `"}}` + "\n" +
			stdin("a") + `{"type":"stdin_close"}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			nc := a.Dial(t)
			say(t, nc, says)
			got := answers(t, nc)
			if last := got.frames[len(got.frames)-1]; string(got.stdout) != "a" || last.Type != v1.TypeExit || last.ExitCode != 0 {
				t.Errorf("answers %+v, want %q and exit 0", got, "a")
			}
			_ = nc.Close()
		})
	}
}

func TestLineAsLongAsLinesMayBeIsTaken(t *testing.T) {
	loadtest.Heavy(t)
	a := agenttest.Start(t)
	nc := a.Dial(t)
	data := strings.Repeat("0123456789ab", (v1.MaxLine-100)/16)
	go func() { _, _ = io.WriteString(nc, request(data, "cat")) }() // ends with nc
	if got := answers(t, nc); string(got.stdout) != data {
		t.Errorf("%d bytes of %d", len(got.stdout), len(data))
	}
	_ = nc.Close()
}

func TestLongLinesOfAllHostsAreBounded(t *testing.T) {
	a := agenttest.Start(t)
	long := `{"type":"stdin","data":"` + strings.Repeat("A", v1.MaxLine-100)
	var held []net.Conn
	defer func() {
		for _, nc := range held {
			_ = nc.Close()
		}
	}()
	for range 8 { // more than there is memory for
		nc := a.Dial(t)
		held = append(held, nc)
		say(t, nc, exec("sleep", "1000"))
		go func() { _, _ = io.WriteString(nc, long) }() // ends with nc
	}
	refused := make(chan v1.Frame, len(held))
	for _, nc := range held {
		go func() { // ends with nc
			lines := v1.NewReader(nc, 4096, v1.MaxLine, nil)
			for {
				f, err := lines.Next()
				if err != nil {
					return
				}
				if f.Type == v1.TypeError {
					refused <- *f
				}
			}
		}()
	}
	if f := <-refused; f.Message != v1.ErrMemory.Error() {
		t.Errorf("the last frame is %+v, want %v", f, v1.ErrMemory)
	}
	nc := a.Dial(t) // others are served
	say(t, nc, request("x", "cat"))
	if got := answers(t, nc); string(got.stdout) != "x" {
		t.Errorf("answers %+v, want %q", got, "x")
	}
	_ = nc.Close()
}

func TestHostThatReadsAfterTheExitLosesNothing(t *testing.T) {
	a := agenttest.Start(t)
	const size = 3 << 20
	nc := a.Dial(t)
	say(t, nc, request("", "head", "-c", fmt.Sprint(size), "/dev/zero"))
	// Nothing is read before the command has written all that it can: what does
	// not fit anywhere holds it up.
	agenttest.Eventually(t, "the start", func() bool { return strings.Contains(a.Log.String(), "exec started") })
	got := answers(t, nc)
	if last := got.frames[len(got.frames)-1]; len(got.stdout) != size || last.Type != v1.TypeExit {
		t.Errorf("%d bytes of %d, %+v", len(got.stdout), size, last)
	}
	_ = nc.Close()
}

func TestAnswerOutlastsInputThatNobodyHasRead(t *testing.T) {
	a := agenttest.Start(t)
	nc := a.Dial(t)
	say(t, nc, exec("sh", "-c", "echo done; exit 3"))
	flood := make(chan error, 1)
	go func() { // ends with nc, or when all has been taken
		_, err := io.WriteString(nc, strings.Repeat(stdin(strings.Repeat("x", 30_000)), 100))
		flood <- err
	}()
	if err := <-flood; err != nil { // what the process does not want is thrown away
		t.Error(err)
	}
	got := answers(t, nc)
	if last := got.frames[len(got.frames)-1]; string(got.stdout) != "done\n" || last.ExitCode != 3 {
		t.Errorf("answers %+v, want %q and exit 3", got, "done\n")
	}
	_ = nc.Close()
}

func TestHangUpEndsACommandWithUnreadOutput(t *testing.T) {
	a := agenttest.Start(t)
	nc := a.Dial(t)
	say(t, nc, exec("yes"))
	agenttest.Eventually(t, "the start", func() bool { return strings.Contains(a.Log.String(), "exec started") })
	other := a.Dial(t)
	say(t, other, request("x", "cat"))
	if got := answers(t, other); string(got.stdout) != "x" {
		t.Errorf("answers %+v, want %q", got, "x")
	}
	_ = other.Close()
	_ = nc.Close()
	allEnded(t, a)
}

func TestHangUpEndsACommandWithUnreadInput(t *testing.T) {
	a := agenttest.Start(t)
	nc := a.Dial(t)
	say(t, nc, exec("sleep", "1000"))
	agenttest.Eventually(t, "the start", func() bool { return strings.Contains(a.Log.String(), "exec started") })
	_ = nc.SetWriteDeadline(time.Now().Add(time.Second / 2)) // by when nothing more is taken
	if _, err := io.WriteString(nc, strings.Repeat(stdin(strings.Repeat("x", 30_000)), 1000)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("all of it was taken: %v", err)
	}
	_ = nc.Close()
	allEnded(t, a)
}

func TestExitThatOnlyLooksLikeSuccessIsAnError(t *testing.T) {
	a := agenttest.StartWith(t, func(c *session.Config) { c.ShutdownGrace = agenttest.Patience / 2 }) // it exits by itself
	nc := a.Dial(t)
	say(t, nc, exec("sh", "-c", `trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done`))
	lines := bufio.NewReader(nc)
	for range 2 { // started, stdout
		if _, err := lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	var ending sync.WaitGroup
	ending.Go(func() { a.Shutdown(t) })
	got := answers(t, lines)
	if len(got.frames) == 0 {
		t.Fatal("no answer")
	}
	if last := got.frames[len(got.frames)-1]; last.Type != v1.TypeError || last.Message != "the agent terminated the command: shutdown" {
		t.Errorf("the last frame is %+v, want an error about the shutdown", last)
	}
	_ = nc.Close()
	ending.Wait()
}

func TestPolicyAndLimitsAreThoseOfVersion2(t *testing.T) {
	denied := agenttest.StartWith(t, func(c *session.Config) { c.Policy.Denied = []string{"exec"} })
	full := agenttest.StartWith(t, func(c *session.Config) { c.Quotas.AllExecs = 1 })
	first := full.Dial(t)
	say(t, first, exec("sleep", "1000"))
	agenttest.Eventually(t, "the start", func() bool { return strings.Contains(full.Log.String(), "exec started") })
	for a, want := range map[*agenttest.Agent]string{denied: "exec: not allowed by this agent's policy", full: "limit reached"} {
		nc := a.Dial(t)
		say(t, nc, request("", "true"))
		got := answers(t, nc)
		if last := got.frames[0]; last.Type != v1.TypeError || !strings.Contains(last.Message, want) {
			t.Errorf("%+v, want %q", last, want)
		}
		_ = nc.Close()
	}
	_ = first.Close()
}

func TestDisabledVersion1IsRefusedWithAReason(t *testing.T) {
	a := agenttest.StartWith(t, func(c *session.Config) { c.DisableV1 = true })
	for _, says := range []string{exec("true"), `{"type":"reseed","data":"AAAA"}` + "\n"} {
		nc := a.Dial(t)
		say(t, nc, says)
		answer, err := bufio.NewReader(nc).ReadString('\n')
		const want = `{"type":"error","message":"protocol version 1 is disabled on this agent (--disable-v1): use version 2","kind":"unsupported"}` + "\n"
		_ = nc.Close()
		if answer != want {
			t.Errorf("the answer is %q, %v, want %q", answer, err, want)
		}
	}
}
