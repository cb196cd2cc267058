//go:build linux

package v1_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/loadtest"
	"github.com/cocoonstack/cocoon-agent/internal/v1"
)

func TestTranscriptsPlayedToTheClient(t *testing.T) {
	for _, tr := range readTranscripts(t) {
		t.Run(tr.name, func(t *testing.T) {
			serve, said := player(t, strings.Join(tr.agent, ""))
			c := dialOld(t, startOld(t, serve))
			host, agent := heard(t, tr.host), heard(t, tr.agent)
			stdout, stderr, err := perform(patiently(t), c, host)
			if got := <-said; !got.same(host) {
				t.Errorf("the client says %+v\nwant %+v", got, host)
			}
			if stdout != string(agent.stdout) || stderr != string(agent.stderr) {
				t.Errorf("stdout %q, stderr %q", stdout, stderr)
			}
			switch last := agent.frames[len(agent.frames)-1]; {
			case last.Type == v1.TypeError:
				wantRemote(t, err, client.Internal, last.Message)
			case last.ExitCode != 0:
				if exit, ok := errors.AsType[*client.ExitError](err); !ok || exit.ExitCode() != last.ExitCode {
					t.Errorf("error %v, want exit code %d", err, last.ExitCode)
				}
			case err != nil:
				t.Error(err)
			}
			if p := c.Protocol(); p != client.Protocol1 {
				t.Errorf("protocol %d", p)
			}
		})
	}
}

func TestCutAgentErrorSaysWhetherItMayHaveRun(t *testing.T) {
	for _, tr := range readTranscripts(t) {
		says := strings.Join(tr.agent, "")
		started := strings.Index(says, "\n") + 1
		host := heard(t, tr.host)
		for n := range len(says) {
			serve, _ := player(t, says[:n])
			c := dialOld(t, startOld(t, serve))
			_, _, err := perform(patiently(t), c, host)
			maybe := errors.AsType[*client.MaybeStartedError]
			lost := errors.AsType[*client.LostExitError]
			_, isMaybe := maybe(err)
			_, isLost := lost(err)
			one := strings.Contains(tr.agent[0], "started")
			switch {
			case !errors.Is(err, client.ErrLost),
				!tr.reseeds() && one && n >= started && !isLost,
				!tr.reseeds() && (!one || n < started) && !isMaybe:
				t.Fatalf("%s, %d bytes: error %v (%T)", tr.name, n, err, err)
			}
			_ = c.Close()
		}
	}
}

const begun = `{"type":"started","pid":1}` + "\n"

func TestAgentThatBreaksTheRulesIsAnError(t *testing.T) {
	for name, tc := range map[string]struct{ says, want string }{
		"no JSON":              {begun + "hello\n", "malformed frame"},
		"no type":              {begun + "{}\n", "no type"},
		"no base64":            {begun + `{"type":"stdout","data":"!"}` + "\n", "malformed frame"},
		"exit before start":    {`{"type":"exit"}` + "\n", `unexpected "exit"`},
		"output before start":  {`{"type":"stdout","data":"eA=="}` + "\n", `unexpected "stdout"`},
		"started twice":        {begun + begun, `unexpected "started"`},
		"a pid beyond all":     {`{"type":"started","pid":4294967296}` + "\n", `unexpected "started"`},
		"a negative pid":       {`{"type":"started","pid":-1}` + "\n", `unexpected "started"`},
		"an exit code too far": {begun + `{"type":"exit","exit_code":4294967296}` + "\n", `unexpected "exit"`},
		"a pid of letters":     {`{"type":"started","pid":"one"}` + "\n", "pid is a JSON string"},
		"a line without end":   {begun + `{"type":"` + strings.Repeat("x", v1.MaxLine+1<<17), "line is longer"},
		"a long error":         {begun + `{"type":"error","message":"` + strings.Repeat("x", 5<<20) + `"}` + "\n", "xxx"},
	} {
		t.Run(name, func(t *testing.T) {
			serve, _ := player(t, tc.says)
			c := dialOld(t, startOld(t, serve))
			err := c.CommandContext(patiently(t), "true").Run()
			if err == nil || !strings.Contains(err.Error(), tc.want) || len(err.Error()) > 8<<10 {
				t.Errorf("error %.9000v", err)
			}
			if name != "a long error" && !errors.Is(err, client.ErrLost) {
				t.Errorf("%v does not wrap ErrLost", err)
			}
		})
	}
}

func TestFirstCommandCostsOneReconnect(t *testing.T) {
	serve := func(nc net.Conn, _ *v1.Frame, _ *v1.Reader) {
		_, _ = io.WriteString(nc, begun+`{"type":"exit"}`+"\n")
	}
	a := startOld(t, serve)
	c := dialOld(t, a)
	for n := 1; n <= 5; n++ {
		if err := c.CommandContext(patiently(t), "true").Run(); err != nil {
			t.Fatal(err)
		}
		if dials, refused := a.counts(); dials != n+1 || refused != 1 {
			t.Fatalf("%d connections, of which %d were refused, for %d commands", dials, refused, n)
		}
	}
}

func TestConcurrentCommandsFindVersion1Together(t *testing.T) {
	serve := func(nc net.Conn, _ *v1.Frame, _ *v1.Reader) {
		_, _ = io.WriteString(nc, begun+`{"type":"exit"}`+"\n")
	}
	a := startOld(t, serve)
	c := dialOld(t, a)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if err := c.CommandContext(patiently(t), "true").Run(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if dials, refused := a.counts(); dials != 51 || refused != 1 {
		t.Errorf("%d connections, %d refused", dials, refused)
	}
}

func TestCommandIsEndedByClosingItsConnection(t *testing.T) {
	for name, tc := range map[string]struct {
		end    func(cmd *client.Cmd, cancel func())
		reason client.Reason
	}{
		"context": {func(_ *client.Cmd, cancel func()) { cancel() }, "killed"},
		"kill":    {func(cmd *client.Cmd, _ func()) { _ = cmd.Kill() }, "killed"},
		"timeout": {func(*client.Cmd, func()) {}, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			c := dialOld(t, startOld(t, hanging))
			ctx, cancel := context.WithCancel(patiently(t))
			defer cancel()
			cmd := c.CommandContext(ctx, "cat")
			stdout, _ := cmd.StdoutPipe()
			if _, err := cmd.StdinPipe(); err != nil {
				t.Fatal(err)
			}
			if name == "timeout" {
				cmd.Timeout = time.Second
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(stdout, make([]byte, 2)); err != nil {
				t.Error(err)
			}
			wantRemote(t, cmd.Signal(client.SignalName("HUP")), client.Unsupported, "the agent speaks protocol version 1, which has no signals")
			tc.end(cmd, cancel)
			err := cmd.Wait()
			exit, ok := errors.AsType[*client.ExitError](err)
			if !ok || exit.Reason() != tc.reason || exit.ExitCode() != -1 {
				t.Errorf("error %v (%T)", err, err)
			}
			if name == "context" && !errors.Is(err, context.Canceled) {
				t.Errorf("%v does not wrap the context's error", err)
			}
		})
	}
}

func TestMergedOutputKeepsItsOrder(t *testing.T) {
	var says, want strings.Builder
	says.WriteString(begun)
	for i := range 500 {
		word := strings.Repeat(string(rune('a'+i%26)), i)
		want.WriteString(word)
		says.WriteString(`{"type":"` + []string{"stdout", "stderr"}[i%2] + `","data":"` + encode(word) + `"}` + "\n")
	}
	says.WriteString(`{"type":"exit"}` + "\n")
	serve, _ := player(t, says.String())
	out, err := dialOld(t, startOld(t, serve)).CommandContext(patiently(t), "x").CombinedOutput()
	if err != nil || string(out) != want.String() {
		t.Errorf("%d bytes of %d, %v", len(out), want.Len(), err)
	}
}

func TestSlowReaderHoldsUpOnlyItsAgent(t *testing.T) {
	line := `{"type":"stdout","data":"` + encode(strings.Repeat("x", 30_000)) + `"}` + "\n"
	stalled := make(chan struct{})
	var once sync.Once
	a := startOld(t, func(nc net.Conn, first *v1.Frame, _ *v1.Reader) {
		_, _ = io.WriteString(nc, begun)
		if first.Argv[0] == "flood" {
			for sent := 0; ; sent += len(line) {
				_ = nc.SetWriteDeadline(time.Now().Add(time.Second / 2))
				if _, err := io.WriteString(nc, line); err != nil {
					if sent > 16<<20 {
						a := sent
						t.Errorf("%d bytes were taken that nobody reads", a)
					}
					once.Do(func() { close(stalled) })
					return
				}
				if sent > 64<<20 {
					return
				}
			}
		}
		_, _ = io.WriteString(nc, `{"type":"exit"}`+"\n")
	})
	c := dialOld(t, a)
	flood := c.CommandContext(patiently(t), "flood")
	if _, err := flood.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := flood.Start(); err != nil {
		t.Fatal(err)
	}
	<-stalled
	if err := c.CommandContext(patiently(t), "other").Run(); err != nil {
		t.Error(err)
	}
	_ = flood.Kill()
	if err := flood.Wait(); err == nil {
		t.Error("no error")
	}
}

func TestInputOfManyCommandsThatDoNotReadIsKept(t *testing.T) {
	loadtest.Heavy(t)
	const commands, size = 120, 512 << 10 // more memory than an agent of version 2 has for input: it would end some
	read := make(chan struct{})
	a := startOld(t, func(nc net.Conn, _ *v1.Frame, lines *v1.Reader) {
		_, _ = io.WriteString(nc, begun)
		<-read
		n := 0
		for {
			line, err := lines.Line() // not decoded: that takes a while
			data, found := bytes.CutPrefix(line, []byte(`{"type":"stdin","data":"`))
			if err != nil || !found {
				break
			}
			data = bytes.TrimRight(data, "=\"}\n")
			n += base64.RawStdEncoding.DecodedLen(len(data))
		}
		if n != size {
			t.Errorf("%d bytes of input", n)
		}
		_, _ = io.WriteString(nc, `{"type":"exit"}`+"\n")
	})
	c := dialOld(t, a)
	input := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	var all, begins sync.WaitGroup
	for range commands {
		begins.Add(1)
		all.Go(func() {
			cmd := c.CommandContext(patiently(t), "x")
			cmd.Stdin = bytes.NewReader(input)
			err := cmd.Start()
			begins.Done()
			if err == nil {
				err = cmd.Wait()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	begins.Wait()
	<-time.After(1500 * time.Millisecond) // by when what nobody reads would be thrown away, were it for an agent
	close(read)
	all.Wait()
}

func TestFailedDialMeansTheCommandHasNotRun(t *testing.T) {
	a := startOld(t, hanging)
	down := errors.New("the VM is off")
	var off sync.Map
	c, err := client.DialWith(t.Context(), func(ctx context.Context) (net.Conn, error) {
		if _, is := off.Load("off"); is {
			return nil, down
		}
		return a.dial(ctx)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Ready(patiently(t)); err != nil {
		t.Fatal(err)
	}
	off.Store("off", true)
	err = c.CommandContext(patiently(t), "true").Run()
	if dial, ok := errors.AsType[*client.DialError](err); !ok || !strings.Contains(dial.Error(), down.Error()) {
		t.Errorf("error %v (%T)", err, err)
	}
	if err := c.Ping(patiently(t)); err == nil {
		t.Error("an agent that is not there answers")
	}
}

func TestEarlyRefusalFallsBackToVersion1(t *testing.T) {
	a := startOld(t, func(nc net.Conn, _ *v1.Frame, _ *v1.Reader) {
		_, _ = io.WriteString(nc, begun+`{"type":"exit"}`+"\n")
	})
	for range 200 { // it may be before the client has begun, or within its first words
		first := true
		c, err := client.DialWith(t.Context(), func(ctx context.Context) (net.Conn, error) {
			if !first {
				return a.dial(ctx)
			}
			first = false
			near, far := socketpair(t)
			_, err := io.WriteString(far, `{"type":"error","message":"what?"}`+"\n")
			_ = far.Close()
			return near, err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.CommandContext(patiently(t), "true").Run(); err != nil {
			t.Error(err)
		}
		_ = c.Close()
	}
}

// A hostile agent cannot make the client believe what only the client can know.
func TestKindOfAnAgentsErrorIsItsOwnWord(t *testing.T) {
	for kind, want := range map[string]client.Kind{
		"limit": client.Limit, "undialed": client.Internal, "lost": client.Internal, "superseded": client.Internal, "not_found": client.Internal,
	} {
		for _, before := range []string{"", begun} {
			serve, _ := player(t, before+`{"type":"error","message":"no","kind":"`+kind+`"}`+"\n")
			err := dialOld(t, startOld(t, serve)).CommandContext(patiently(t), "x").Run()
			if before != "" {
				want = client.Internal
			}
			wantRemote(t, err, want, "no")
		}
	}
}

// Agents that speak version 1 only run on Windows, too, and do not announce it.
func TestExitCodesHave32Bits(t *testing.T) {
	for code, want := range map[string]struct{ code, status int }{
		"255":         {255, 255},
		"256":         {256, 1},
		"513":         {513, 1},
		"3221225477":  {0xc0000005, 5},
		"-1073741819": {0xc0000005, 5},
		"4294967295":  {0xffffffff, 255},
		"2147483648":  {1 << 31, 1},
		"-2147483648": {1 << 31, 1},
		"-1":          {-1, -1}, // a signal
	} {
		serve, _ := player(t, `{"type":"started","pid":5}`+"\n"+`{"type":"exit","exit_code":`+code+"}\n")
		_, _, err := perform(patiently(t), dialOld(t, startOld(t, serve)), heard(t, []string{`{"type":"exec","argv":["x"]}`}))
		exit, ok := errors.AsType[*client.ExitError](err)
		if !ok || exit.ExitCode() != want.code || exit.ExitStatus() != want.status {
			t.Errorf("exit_code %s: %v (%T), code %d, status %d; want %+v", code, err, err, exit.ExitCode(), exit.ExitStatus(), want)
		}
	}
	for _, code := range []string{"4294967296", "-2147483649"} {
		serve, _ := player(t, `{"type":"started","pid":5}`+"\n"+`{"type":"exit","exit_code":`+code+"}\n")
		_, _, err := perform(patiently(t), dialOld(t, startOld(t, serve)), heard(t, []string{`{"type":"exec","argv":["x"]}`}))
		if _, ok := errors.AsType[*client.LostExitError](err); !ok {
			t.Errorf("exit_code %s: %v (%T), want a LostExitError", code, err, err)
		}
	}
}
