//go:build linux

package proc_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// environment returns what a process gets, but for what its name is not asked for.
func environment(tb testing.TB, s *proc.Spawner, spec proc.Spec) []string {
	tb.Helper()
	spec.Argv = []string{"cat", "/proc/self/environ"}
	return strings.Split(strings.TrimSuffix(output(tb, s, spec), "\x00"), "\x00")
}

func TestChildDoesNotSeeTheAgentsVariables(t *testing.T) {
	private := []string{
		"CREDENTIALS_DIRECTORY", "FDSTORE", "INVOCATION_ID", "JOURNAL_STREAM",
		"LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID", "MAINPID", "MANAGERPID",
		"MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE", "NOTIFY_SOCKET", "RUNTIME_DIRECTORY",
		"STATE_DIRECTORY", "SYSTEMD_EXEC_PID", "TRIGGER_UNIT", "WATCHDOG_PID", "WATCHDOG_USEC", "DEBUG_INVOCATION",
		"AGENT_LOG_LEVEL", "COCOON_AGENT_OPTIONS", "COCOON_AGENT_TARGET", "TERM",
		"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK",
	}
	for _, key := range private {
		t.Setenv(key, "for the agent")
	}
	t.Setenv("LISTEN", "to all")
	t.Setenv("AGENT_NAME", "to all")
	env := environment(t, newSpawner(t), proc.Spec{})
	for _, entry := range env {
		if strings.Contains(entry, "for the agent") {
			t.Errorf("the child has %s", entry)
		}
	}
	if !slices.Contains(env, "LISTEN=to all") || !slices.Contains(env, "AGENT_NAME=to all") {
		t.Errorf("the child lacks what is no variable of the agent's: %q", env)
	}
}

func TestChildGetsSystemdNamesOfTheRequest(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "agent's")
	env := environment(t, newSpawner(t), proc.Spec{Env: []string{"NOTIFY_SOCKET=request's"}})
	if !slices.Contains(env, "NOTIFY_SOCKET=request's") {
		t.Errorf("got %q", env)
	}
}

func TestRequestsEnvironmentWins(t *testing.T) {
	t.Setenv("FROM", "agent")
	t.Setenv("KEPT", "agent")
	s := newSpawner(t)
	for _, test := range []struct {
		name       string
		env        []string
		want, lack []string
	}{
		{"over the agent's", []string{"FROM=request"}, []string{"FROM=request", "KEPT=agent"}, []string{"FROM=agent"}},
		{"over the user's", []string{"HOME=/x", "USER=x"}, []string{"HOME=/x", "USER=x"}, nil},
		{"the last", []string{"FROM=1", "A=", "FROM=2"}, []string{"FROM=2", "A="}, []string{"FROM=1", "FROM=agent"}},
		{"emptied", []string{"FROM="}, []string{"FROM="}, []string{"FROM=agent"}},
		{"with = in the value", []string{"FROM=a=b"}, []string{"FROM=a=b"}, []string{"FROM=agent"}},
		{"with a longer name", []string{"FROMAGE=x"}, []string{"FROM=agent", "FROMAGE=x"}, nil},
		{"in any bytes", []string{"FROM=\xff\n"}, []string{"FROM=\xff\n"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := environment(t, s, proc.Spec{Env: test.env})
			keys := make(map[string]int)
			for _, entry := range got {
				key, _, _ := strings.Cut(entry, "=")
				keys[key]++
				if keys[key] > 1 {
					t.Errorf("%s is there twice", key)
				}
				if slices.Contains(test.lack, entry) {
					t.Errorf("%s is there", entry)
				}
			}
			for _, entry := range test.want {
				if !slices.Contains(got, entry) {
					t.Errorf("%s is missing from %q", entry, got)
				}
			}
		})
	}
}

func TestClearedEnvironmentIsTheRequestsAlone(t *testing.T) {
	got := environment(t, newSpawner(t), proc.Spec{Env: []string{"B=1", "A=2", "B=3"}, ClearEnv: true})
	if want := []string{"B=3", "A=2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := environment(t, newSpawner(t), proc.Spec{ClearEnv: true}); !slices.Equal(got, []string{""}) {
		t.Errorf("got %q, want nothing", got)
	}
}

func TestChildHasAPathIfTheAgentHasNone(t *testing.T) {
	path := os.Getenv("PATH")
	t.Setenv("PATH", path) // puts it back after the test
	_ = os.Unsetenv("PATH")
	env := environment(t, newSpawner(t), proc.Spec{})
	if !slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "PATH=/") }) {
		t.Errorf("got %q", env)
	}
}

// A child's environment is its user's also if the user is the agent's own.
func TestChildHasTheNamesOfTheAgentsUser(t *testing.T) {
	for _, key := range []string{"HOME", "USER", "LOGNAME", "SHELL"} {
		t.Setenv(key, "/of/the/agent")
	}
	env := environment(t, newSpawner(t), proc.Spec{})
	for _, key := range []string{"HOME", "USER", "LOGNAME", "SHELL"} {
		i := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, key+"=") })
		if i < 0 || env[i] == key+"=/of/the/agent" || env[i] == key+"=" {
			t.Errorf("no %s of the user's: %q", key, env)
		}
	}
}
