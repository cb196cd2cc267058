package main

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// asAgent makes the test binary the program itself.
const asAgent = "COCOON_AGENT_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asDenied) != "" {
		denied()
	}
	if len(os.Args) > 1 && (os.Args[1] == filesWorker || os.Args[1] == freezeGuard) { // whatever the program is called
		main()
	}
	if os.Getenv(asAgent) != "" || os.Getenv(stateVariable) == trialState {
		if speed, err := strconv.Atoi(os.Getenv(fastWatchdogs)); err == nil {
			watchSpeed = speed
		}
		if status, asked := failsAsAsked(); asked {
			os.Exit(status)
		}
		if status, bad := misbehave(filepath.Base(os.Args[0])); bad {
			os.Exit(status)
		}
		main()
	}
	if os.Getenv(asWindow) != "" {
		window()
		os.Exit(0)
	}
	if os.Getenv(asPanicker) != "" {
		panicker()
	}
	testscript.Main(m, map[string]func(){"cocoon-agent": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("COCOON_AGENT_TARGET", "unix://"+env.WorkDir+"/a.sock")
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector's own default is a second
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"appears":   appears,
			"listening": listening,
			"status":    status,
		},
	})
}

// appears waits until a file is there.
func appears(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: appears FILE")
	}
	await(ts, func() error {
		_, err := os.Stat(ts.MkAbs(args[0]))
		return err
	})
}

// listening waits until a.sock accepts connections.
func listening(ts *testscript.TestScript, _ bool, _ []string) {
	await(ts, func() error {
		c, err := net.Dial("unix", ts.MkAbs("a.sock"))
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// await asks until there is no error.
func await(ts *testscript.TestScript, ask func() error) {
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(patience); ; <-poll.C {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("waited for %v: %v", patience, err)
		}
	}
}

// status runs a command whose exit status is its first argument.
func status(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: status N command…")
	}
	ts.Check(ts.Exec("sh", append([]string{"-c", `"$@"; echo status=$?`, "sh"}, args[1:]...)...))
	if out := ts.ReadFile("stdout"); !strings.HasSuffix(out, "status="+args[0]+"\n") {
		ts.Fatalf("want status %s: %s", args[0], out)
	}
}
