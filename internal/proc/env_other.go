//go:build !windows

package proc

// defaultPath is the PATH where the agent has none, as Debian's login gives root.
func defaultPath() string { return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" }

// envKey is equal for two keys that are the same variable.
func envKey(key string) string { return key }

// userEnv is what a user's processes have in their environment.
func userEnv(user account) []string {
	return []string{"HOME=" + user.home, "USER=" + user.name, "LOGNAME=" + user.name, "SHELL=" + user.shell}
}

// indispensable is what a process gets of base though its environment is to be empty.
func indispensable([]string) []string { return nil }

// startDir is the directory of a process. Linux's finds its home itself, with its user's rights.
func startDir(dir, _ string) string { return dir }
