package proc

import (
	"slices"
	"strings"
)

// private are variables that were put into the agent's environment for the agent
// itself. TERM is of the agent's own terminal.
var private = slices.Concat(
	[]string{"AGENT_LOG_LEVEL", "COCOON_AGENT_OPTIONS", "COCOON_AGENT_TARGET", "TERM"},
	// The Go runtime, package runtime.
	[]string{"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK"},
	// The service manager: systemd.exec(5), sd_listen_fds(3), sd_notify(3).
	[]string{
		"CACHE_DIRECTORY", "CONFIGURATION_DIRECTORY", "CREDENTIALS_DIRECTORY", "LOGS_DIRECTORY",
		"RUNTIME_DIRECTORY", "STATE_DIRECTORY",
		"DEBUG_INVOCATION", "FDSTORE", "INVOCATION_ID", "JOURNAL_STREAM", "LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID",
		"LISTEN_PIDFDID", "LOG_NAMESPACE", "MAINPID", "MANAGERPID", "MANAGERPIDFDID",
		"MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE", "NOTIFY_SOCKET", "PIDFILE",
		"SYSTEMD_EXEC_PID", "TRIGGER_PATH", "TRIGGER_TIMER_MONOTONIC_USEC", "TRIGGER_TIMER_REALTIME_USEC",
		"TRIGGER_UNIT", "WATCHDOG_PID", "WATCHDOG_USEC",
	},
)

// baseEnv is the agent's environment as far as it is meant for others.
func baseEnv(own []string) []string {
	var env []string
	for _, entry := range own {
		if key, _, ok := strings.Cut(entry, "="); ok && key != "" && !slices.Contains(private, envKey(key)) {
			env = append(env, entry)
		}
	}
	if _, ok := lookupEnv(env, "PATH"); !ok {
		env = append(env, "PATH="+defaultPath())
	}
	return env
}

// environ is the environment of a process, each key once.
func environ(base []string, user account, spec Spec) []string {
	if spec.ClearEnv {
		return unique(slices.Concat(indispensable(base), spec.Env))
	}
	users := userEnv(user)
	if spec.Terminal != nil {
		users = append(users, "TERM="+spec.Terminal.term())
	}
	return unique(slices.Concat(base, users, spec.Env))
}

// unique keeps the last of equal keys, at the place of the first.
func unique(env []string) []string {
	at := make(map[string]int, len(env))
	out := make([]string, 0, len(env))
	for _, entry := range env {
		key, _, _ := strings.Cut(entry, "=")
		key = envKey(key)
		if i, ok := at[key]; ok {
			out[i] = entry
			continue
		}
		at[key] = len(out)
		out = append(out, entry)
	}
	return out
}

func lookupEnv(env []string, key string) (string, bool) {
	for _, entry := range env {
		if k, value, ok := strings.Cut(entry, "="); ok && envKey(k) == envKey(key) {
			return value, true
		}
	}
	return "", false
}
